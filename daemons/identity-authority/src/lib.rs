//! The identity authority: issues short-lived identity documents under per-site rules.
