//! SPIFFE X.509 identity documents, their verification, and the policy engine.
