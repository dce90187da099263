//! New material: in this process, or inside the HSM.

use std::sync::Arc;

use kms_client::{
    Algorithm, KeyId, Sensitivity,
    material::{Material, MaterialError},
    wire::admin::Origin,
};
use zeroize::Zeroizing;

use super::AdminError;
use crate::{
    engine::Engine,
    store::{NewMaterial, NewVersion, StoreError},
};

/// A new enabled version, made where its sensitivity says.
pub(super) async fn version(
    engine: &Arc<Engine>,
    key_id: KeyId,
    version: u32,
    (algorithm, sensitivity): (Algorithm, Sensitivity),
) -> Result<NewVersion, AdminError> {
    let (material, origin) = match sensitivity {
        Sensitivity::High => {
            let reference = engine.generate_in_hsm(key_id, version, algorithm).await?;
            (NewMaterial::Hsm(reference), Origin::Hsm)
        }
        Sensitivity::Low | Sensitivity::Medium => (
            NewMaterial::Software(generate(engine, algorithm).await?),
            Origin::Generated,
        ),
    };
    Ok(NewVersion {
        version,
        state: kms_client::State::Enabled,
        origin,
        created_at: engine.unix_seconds(),
        material,
        uses: 0,
    })
}

/// New material, on a thread that may be busy for the second an RSA key takes.
async fn generate(engine: &Engine, algorithm: Algorithm) -> Result<Zeroizing<Vec<u8>>, AdminError> {
    let _turn = match algorithm {
        Algorithm::RsaOaep(_) | Algorithm::RsaPss(..) => Some(engine.turn_to_make().await?),
        _ => None,
    };
    let made = tokio::task::spawn_blocking(move || {
        Ok::<_, MaterialError>(Material::generate(algorithm)?.to_bytes())
    });
    made.await
        .map_err(|error| AdminError::internal(&error))?
        .map_err(|error| AdminError::internal(&error))
}

/// Material that came from outside, if it is of the algorithm.
///
/// # Errors
///
/// `BAD_REQUEST`, saying what is wrong with its form.
pub(super) fn checked(
    algorithm: Algorithm,
    bytes: Zeroizing<Vec<u8>>,
) -> Result<Zeroizing<Vec<u8>>, AdminError> {
    match Material::from_bytes(algorithm, &bytes) {
        Ok(_) => Ok(bytes),
        Err(error @ (MaterialError::Memory(_) | MaterialError::Failed)) => {
            Err(AdminError::internal(&error))
        }
        Err(error) => Err(AdminError::bad_request(format!(
            "the material is refused: {error}"
        ))),
    }
}

/// Takes back what was made in the HSM for a version that was not stored.
///
/// Not where the change may have been made: the version may be there, and protect already, here or in another replica.
pub(super) async fn discard(engine: &Engine, reference: Option<Vec<u8>>, why: &StoreError) {
    if let Some(reference) = &reference
        && why.may_be_made()
    {
        let reference = hex::encode(reference);
        tracing::warn!(
            reference,
            "an object in the HSM may have no key: see whether a version has this reference"
        );
        return;
    }
    if let Some(reference) = reference
        && let Err(error) = engine.destroy_in_hsm(&reference).await
    {
        tracing::error!(%error, reference = hex::encode(&reference), "an object in the HSM that no key uses is left behind: remove it");
    }
}

/// The HSM's reference of a version that is about to be stored.
pub(super) fn reference(version: &NewVersion) -> Option<Vec<u8>> {
    match &version.material {
        NewMaterial::Hsm(reference) => Some(reference.clone()),
        NewMaterial::Software(_) => None,
    }
}
