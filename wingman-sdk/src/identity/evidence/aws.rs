//! An EC2 instance, by its identity document.
//!
//! Both texts come from the instance metadata service, version 2, over plain HTTP to a link-local address: the one
//! place where AWS has them. No proxy is asked, no redirection followed.

use std::time::Duration;

use ::attest::{aws, limits as bounds};
use ::identity::wire::Evidence;
use zeroize::Zeroizing;

use super::{EvidenceError, EvidenceRequest, EvidenceSource};
use crate::limits;

/// The instance identity document of this EC2 instance, read for each request.
#[derive(Clone, Debug)]
pub struct AwsInstance {
    metadata_url: String,
}

impl AwsInstance {
    /// The metadata service at its usual address.
    #[must_use]
    pub fn new() -> Self {
        Self::at("http://169.254.169.254")
    }

    /// The metadata service at another address, such as `http://[fd00:ec2::254]`.
    pub fn at(metadata_url: impl Into<String>) -> Self {
        Self {
            metadata_url: metadata_url.into(),
        }
    }

    fn read(&self) -> Result<(String, String), ureq::Error> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .proxy(None)
            .max_redirects(0)
            .timeout_global(Some(METADATA_TIMEOUT))
            .build()
            .into();
        let base = self.metadata_url.trim_end_matches('/');
        let token = agent
            .put(format!("{base}/latest/api/token"))
            .header("X-aws-ec2-metadata-token-ttl-seconds", "60")
            .send_empty()?
            .body_mut()
            .with_config()
            .limit(limits::MAX_METADATA_TOKEN_BYTES)
            .read_to_string()?;
        let token = Zeroizing::new(token);
        let read = |name: &str, limit: usize| {
            agent
                .get(format!("{base}/latest/dynamic/instance-identity/{name}"))
                .header("X-aws-ec2-metadata-token", token.as_str())
                .call()?
                .body_mut()
                .with_config()
                .limit(u64::try_from(limit).unwrap_or(u64::MAX))
                .read_to_string()
        };
        let document = read("document", bounds::MAX_AWS_DOCUMENT_BYTES)?;
        let signature = read("rsa2048", bounds::MAX_AWS_SIGNATURE_BYTES)?;
        Ok((document, signature))
    }
}

impl Default for AwsInstance {
    fn default() -> Self {
        Self::new()
    }
}

impl EvidenceSource for AwsInstance {
    fn evidence(&self, _request: &EvidenceRequest<'_>) -> Result<Evidence, EvidenceError> {
        let (document, signature) = self.read().map_err(|error| {
            EvidenceError::later(format_args!(
                "the metadata service at {} did not give out the instance identity document ({error}): is this an EC2 \
                 instance, and may this program reach the service?",
                self.metadata_url
            ))
        })?;
        Ok(aws::evidence(document, signature))
    }
}

/// It answers within milliseconds; where there is none, packets vanish.
const METADATA_TIMEOUT: Duration = Duration::from_secs(5);
