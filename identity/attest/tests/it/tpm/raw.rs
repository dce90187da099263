//! Commands that no honest machine sends.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use attest::tpm::testing::Swtpm;

/// Commands in bytes.
pub(super) struct Raw(UnixStream);

impl Raw {
    pub(super) fn open(tpm: &Swtpm) -> Self {
        Self(UnixStream::connect(tpm.socket()).unwrap())
    }

    /// Runs a command; code and the rest of the answer.
    pub(super) fn run(
        &mut self,
        code: u32,
        handles: &[u32],
        sessions: &[u32],
        parameters: &[u8],
    ) -> (u32, Vec<u8>) {
        let mut body: Vec<u8> = handles
            .iter()
            .flat_map(|handle| handle.to_be_bytes())
            .collect();
        if !sessions.is_empty() {
            body.extend_from_slice(&(sessions.len() as u32 * 9).to_be_bytes());
            for session in sessions {
                body.extend_from_slice(&session.to_be_bytes());
                body.extend_from_slice(&[0; 5]);
            }
        }
        body.extend_from_slice(parameters);
        let tag: u16 = if sessions.is_empty() { 0x8001 } else { 0x8002 };
        let mut command = tag.to_be_bytes().to_vec();
        command.extend_from_slice(&(body.len() as u32 + 10).to_be_bytes());
        command.extend_from_slice(&code.to_be_bytes());
        command.extend_from_slice(&body);
        loop {
            self.0.write_all(&command).unwrap();
            let mut head = [0; 10];
            self.0.read_exact(&mut head).unwrap();
            let length = u32::from_be_bytes(head[2..6].try_into().unwrap()) as usize;
            let mut answer = vec![0; length - 10];
            self.0.read_exact(&mut answer).unwrap();
            // TPM_RC_RETRY: it was not run.
            match u32::from_be_bytes(head[6..].try_into().unwrap()) {
                0x922 => {}
                code => return (code, answer),
            }
        }
    }

    /// As [`Raw::run`], and it must succeed.
    pub(super) fn succeed(
        &mut self,
        code: u32,
        handles: &[u32],
        sessions: &[u32],
        parameters: &[u8],
    ) -> Vec<u8> {
        let (rc, answer) = self.run(code, handles, sessions, parameters);
        assert_eq!(rc, 0, "the TPM refused the command 0x{code:x}");
        answer
    }
}

/// A `TPM2B`.
pub(super) fn sized(bytes: &[u8]) -> Vec<u8> {
    let mut sized = (bytes.len() as u16).to_be_bytes().to_vec();
    sized.extend_from_slice(bytes);
    sized
}
