//! What every daemon shares: configuration, mTLS listener, authorizer, audit, metrics, storage, drain.
