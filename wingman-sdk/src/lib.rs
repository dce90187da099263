//! Wingman: obtains and renews the workload's identity and opens sealed values.
