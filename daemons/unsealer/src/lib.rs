//! The unsealing authority: evaluates blinded elements for authorized workloads.
