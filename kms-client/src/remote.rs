//! Operations done by the service: jobs become requests that keep to its limits, and answers become results.

use serde::Serialize;
use zeroize::Zeroizing;

use crate::{
    Operation,
    error::{KmsError, Place},
    job::Job,
    limits::MAX_BATCH_ITEMS,
    transport::{decode, encode},
    wire::{MAX_BODY_BYTES, Outcome, Response, path},
};

/// JSON around the bytes of one item, and around all items, generously.
const ITEM_FRAME_BYTES: usize = 256;
const REQUEST_FRAME_BYTES: usize = 512;

#[derive(Serialize)]
struct Body<'a, T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a str>,
    items: Vec<T>,
}

/// Path of a job on `key`.
pub(crate) fn job_path<J: Job>(tenant: &str, key: &str) -> String {
    let operation = J::OPERATIONS.first().copied();
    path::operation(tenant, key, operation.unwrap_or(Operation::Encrypt))
}

/// Bytes of a job's item as JSON, at most.
fn encoded<J: Job>(job: &J) -> usize {
    // Base64 of several parts, each rounded up to four characters: the frame has room for that.
    job.bytes().saturating_mul(4) / 3 + ITEM_FRAME_BYTES
}

/// Cuts jobs into requests that the service takes: by their number, and by their size. Each has one at least.
pub(crate) fn requests<'j, J: Job>(jobs: &'j [&'j J]) -> impl Iterator<Item = &'j [&'j J]> {
    let mut rest = jobs;
    std::iter::from_fn(move || {
        let (mut count, mut size) = (0, REQUEST_FRAME_BYTES);
        for job in rest.iter().take(MAX_BATCH_ITEMS) {
            size = size.saturating_add(encoded(*job));
            if count > 0 && size > MAX_BODY_BYTES {
                break;
            }
            count += 1;
        }
        let (request, later) = rest.split_at_checked(count)?;
        rest = later;
        (!request.is_empty()).then_some(request)
    })
}

/// The body of one request; wiped on drop.
pub(crate) fn body<J: Job>(place: &Place, jobs: &[&J]) -> Result<Zeroizing<Vec<u8>>, KmsError> {
    let size = jobs.iter().map(|job| encoded(*job)).sum::<usize>() + REQUEST_FRAME_BYTES;
    let body = Body {
        to: jobs.first().and_then(|job| job.to()),
        items: jobs.iter().map(|job| job.item()).collect(),
    };
    encode(place, &body, size)
}

/// The results in an answer to a request of `count` items.
pub(crate) fn results<J: Job>(
    place: &Place,
    count: usize,
    answer: Result<Zeroizing<Vec<u8>>, KmsError>,
) -> Vec<Result<J::Output, KmsError>> {
    let read = answer.and_then(|bytes| {
        let response: Response<J::Answer> = decode(place, &bytes)?;
        if response.results.len() == count {
            Ok(response.results)
        } else {
            Err(KmsError::answer(place, "not one result for each item"))
        }
    });
    match read {
        Ok(results) => results
            .into_iter()
            .map(|outcome| match outcome {
                Outcome::Ok(answer) => J::output(answer)
                    .ok_or_else(|| KmsError::answer(place, "a part of the result is missing")),
                Outcome::Error { error } => Err(KmsError::refused(place, error)),
            })
            .collect(),
        Err(error) => (0..count).map(|_| Err(error.clone())).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        job::{Encrypt, ReEncrypt},
        wire,
    };

    fn place() -> Place {
        Place::of_key(&"acme".into(), &"orders".into())
    }

    #[test]
    fn requests_keep_to_number_and_size() {
        let (small, large) = (vec![1; 10], vec![2; 64 * 1024]);
        for (plaintext, jobs, requests_wanted) in [
            (&small, 600, 3),
            (&large, 30, 3),
            (&small, 1, 1),
            (&small, 256, 1),
        ] {
            let job = Encrypt {
                plaintext,
                aad: b"",
            };
            let all = vec![&job; jobs];
            let cut: Vec<_> = requests(&all).collect();
            assert_eq!(cut.len(), requests_wanted);
            assert_eq!(cut.iter().map(|request| request.len()).sum::<usize>(), jobs);
            for request in cut {
                let body = body(&place(), request).unwrap();
                assert!(request.len() <= MAX_BATCH_ITEMS && body.len() <= MAX_BODY_BYTES);
                let read: wire::Request<wire::Encrypt> = serde_json::from_slice(&body).unwrap();
                assert_eq!(read.items.len(), request.len());
            }
        }
        assert_eq!(requests::<Encrypt<'_>>(&[]).count(), 0);
    }

    #[test]
    fn bodies_do_not_grow_while_they_are_written() {
        for bytes in [0, 1, 2, 3, 1000, 64 * 1024] {
            let (plaintext, aad) = (vec![0xff; bytes], vec![0xff; bytes.min(8192)]);
            let job = Encrypt {
                plaintext: &plaintext,
                aad: &aad,
            };
            let all = vec![&job; 3];
            let room = all.iter().map(|job| encoded(*job)).sum::<usize>() + REQUEST_FRAME_BYTES;
            assert!(body(&place(), &all).unwrap().len() <= room);
        }
    }

    #[test]
    fn re_encryption_names_its_destination() {
        let job = ReEncrypt {
            ciphertext: b"c",
            aad: b"",
            to: Some("invoices"),
            new_aad: Some(b""),
        };
        let body = body(&place(), &[&job]).unwrap();
        let read: wire::ReEncryptRequest = serde_json::from_slice(&body).unwrap();
        assert_eq!(read.to.as_deref(), Some("invoices"));
        assert!(read.items[0].new_aad.as_ref().unwrap().0.is_empty());
    }

    #[test]
    fn answers_have_a_result_for_each_item() {
        let answer = |text: &str| Ok(Zeroizing::new(text.as_bytes().to_vec()));
        let whole = r#"{"results":[{"ciphertext":"AAE=","version":1},{"error":{"code":"DENIED","message":"no"}}]}"#;
        let results = results::<Encrypt<'_>>(&place(), 2, answer(whole));
        assert_eq!(results[0].as_deref().unwrap(), [0, 1]);
        let code = results[1].as_ref().unwrap_err().code();
        assert_eq!(code, Some(wire::ErrorCode::Denied));
        for (text, count) in [(whole, 3), (whole, 1), ("{}", 1), ("", 2), ("null", 1)] {
            let results = super::results::<Encrypt<'_>>(&place(), count, answer(text));
            assert_eq!(results.len(), count);
            assert!(
                results
                    .iter()
                    .all(|result| matches!(result, Err(KmsError::Answer { .. })))
            );
        }
    }
}
