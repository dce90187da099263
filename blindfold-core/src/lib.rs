//! PBSEAL: seal secrets offline under a policy, open them with blinded help.
