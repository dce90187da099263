//! What can be unlocked.

use blindfold_core::{
    Accepted, AcceptedHeader, Header, LockSecrets, Missing, OpenError, PolicyLock, StaticKey,
    UnsealingKey,
};

/// What is common to an accepted object in memory and the accepted header of a stream.
pub(crate) trait Locked {
    fn header(&self) -> &Header;
    fn policy_locks(&self) -> Vec<PolicyLock>;
    fn static_secret(&self, key: &StaticKey) -> Result<LockSecrets, OpenError>;
    fn recovery_secret(&self, key: &UnsealingKey) -> Result<LockSecrets, OpenError>;
    fn missing(&self, secrets: &LockSecrets) -> Missing;
}

impl Locked for AcceptedHeader {
    fn header(&self) -> &Header {
        AcceptedHeader::header(self)
    }
    fn policy_locks(&self) -> Vec<PolicyLock> {
        AcceptedHeader::policy_locks(self)
    }
    fn static_secret(&self, key: &StaticKey) -> Result<LockSecrets, OpenError> {
        AcceptedHeader::static_secret(self, key)
    }
    fn recovery_secret(&self, key: &UnsealingKey) -> Result<LockSecrets, OpenError> {
        AcceptedHeader::recovery_secret(self, key)
    }
    fn missing(&self, secrets: &LockSecrets) -> Missing {
        AcceptedHeader::missing(self, secrets)
    }
}

impl Locked for Accepted {
    fn header(&self) -> &Header {
        self.sealed().header()
    }
    fn policy_locks(&self) -> Vec<PolicyLock> {
        Accepted::policy_locks(self)
    }
    fn static_secret(&self, key: &StaticKey) -> Result<LockSecrets, OpenError> {
        Accepted::static_secret(self, key)
    }
    fn recovery_secret(&self, key: &UnsealingKey) -> Result<LockSecrets, OpenError> {
        Accepted::recovery_secret(self, key)
    }
    fn missing(&self, secrets: &LockSecrets) -> Missing {
        Accepted::missing(self, secrets)
    }
}
