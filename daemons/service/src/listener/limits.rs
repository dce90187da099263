//! `[listen.limits]`: the bounds of a listener. Every one has a default that suits a small daemon.

use std::time::Duration;

use serde::Deserialize;

use crate::{config::duration, limits as bounds};

/// Bounds of a listener.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// For the whole TLS handshake. Five seconds are several round trips around the world.
    #[serde(deserialize_with = "duration")]
    pub handshake_timeout: Duration,
    /// From the first byte of a request's head to its last, and from the handshake to the first request.
    #[serde(deserialize_with = "duration")]
    pub header_timeout: Duration,
    /// For the whole request body.
    #[serde(deserialize_with = "duration")]
    pub body_timeout: Duration,
    /// For the handler; longer than any operation of ours takes.
    #[serde(deserialize_with = "duration")]
    pub request_timeout: Duration,
    /// How long a peer may not read our answer.
    #[serde(deserialize_with = "duration")]
    pub write_timeout: Duration,
    /// How long a connection may be kept without a request.
    #[serde(deserialize_with = "duration")]
    pub idle_timeout: Duration,
    /// For requests under way when the peer's document ends; five seconds at most.
    #[serde(deserialize_with = "duration")]
    pub close_grace: Duration,
    /// For requests under way when the daemon is told to stop.
    #[serde(deserialize_with = "duration")]
    pub drain: Duration,
    /// Greatest request body.
    pub body_bytes: usize,
    /// Request bodies in memory, all connections together; one peer has at most an eighth of it, or
    /// one greatest body.
    pub body_memory_bytes: usize,
    /// Connections in total, those still shaking hands included.
    pub max_connections: usize,
    /// Connections from one IPv4 address, or one IPv6 /64.
    pub max_connections_per_address: usize,
    /// Connections in total that have not shown a certificate, those still shaking hands included; a
    /// quarter of `max_connections` if not set. What is left is for peers that are known.
    pub max_unidentified: Option<usize>,
    /// Such connections from one IPv4 address, or one IPv6 /64.
    pub max_unidentified_per_address: usize,
    /// Connections of one principal; for peers without a certificate, from one address.
    pub max_connections_per_peer: usize,
    /// HTTP/2 requests at a time on one connection.
    pub max_streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(120),
            close_grace: Duration::from_secs(5),
            drain: Duration::from_secs(20),
            body_bytes: 64 << 10,
            body_memory_bytes: 64 << 20,
            max_connections: 1024,
            max_connections_per_address: 512,
            max_unidentified: None,
            // A hundred workloads that join at once from behind one address.
            max_unidentified_per_address: 128,
            max_connections_per_peer: 128,
            max_streams: 32,
        }
    }
}

impl Limits {
    /// Seats for connections that have not shown a certificate.
    pub(super) fn unidentified(&self) -> usize {
        self.max_unidentified
            .unwrap_or((self.max_connections / bounds::UNIDENTIFIED_SHARES).max(1))
    }

    /// Checks that the bounds can work together.
    ///
    /// # Errors
    ///
    /// The setting, and what is possible.
    pub fn validate(&self) -> Result<(), (&'static str, String)> {
        for (key, value) in [
            ("handshake_timeout", self.handshake_timeout),
            ("header_timeout", self.header_timeout),
            ("body_timeout", self.body_timeout),
            ("request_timeout", self.request_timeout),
            ("write_timeout", self.write_timeout),
            ("idle_timeout", self.idle_timeout),
            ("close_grace", self.close_grace),
            ("drain", self.drain),
        ] {
            if value.is_zero() || value > Duration::from_secs(3600) {
                return Err((key, "must be above zero and at most \"1h\"".to_owned()));
            }
        }
        for (key, value) in [
            ("max_connections", self.max_connections),
            (
                "max_connections_per_address",
                self.max_connections_per_address,
            ),
            ("max_unidentified", self.unidentified()),
            (
                "max_unidentified_per_address",
                self.max_unidentified_per_address,
            ),
            ("max_connections_per_peer", self.max_connections_per_peer),
            ("max_streams", self.max_streams as usize),
            ("body_bytes", self.body_bytes),
        ] {
            if value == 0 {
                return Err((key, "must be at least 1".to_owned()));
            }
        }
        if self.unidentified() > self.max_connections {
            return Err((
                "max_unidentified",
                "must be at most max_connections".to_owned(),
            ));
        }
        if self.body_memory_bytes < self.body_bytes {
            return Err((
                "body_memory_bytes",
                "must be at least body_bytes, or no request body fits".to_owned(),
            ));
        }
        if u32::try_from(self.body_memory_bytes).is_err() {
            return Err(("body_memory_bytes", "must be below 4 GiB".to_owned()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_hold_and_nonsense_does_not() {
        Limits::default().validate().unwrap();
        let broken = |change: fn(&mut Limits)| {
            let mut limits = Limits::default();
            change(&mut limits);
            limits.validate().unwrap_err().0
        };
        assert_eq!(
            broken(|l| l.header_timeout = Duration::ZERO),
            "header_timeout"
        );
        assert_eq!(broken(|l| l.idle_timeout = Duration::MAX), "idle_timeout");
        assert_eq!(broken(|l| l.max_streams = 0), "max_streams");
        assert_eq!(broken(|l| l.max_connections = 0), "max_connections");
        assert_eq!(broken(|l| l.max_unidentified = Some(0)), "max_unidentified");
        assert_eq!(
            broken(|l| l.max_unidentified = Some(l.max_connections + 1)),
            "max_unidentified"
        );
        assert_eq!(
            broken(|l| l.body_memory_bytes = l.body_bytes - 1),
            "body_memory_bytes"
        );
        assert_eq!(
            broken(|l| l.body_memory_bytes = usize::MAX),
            "body_memory_bytes"
        );
    }
}
