//! `blindfold kms`: administer keys over the administration API, and work with them as a workload.

use kms_client::{
    admin::{AdminClient, AdminError},
    wire::admin::Tenant,
};

use super::{canonical_text, list, one, print};
use crate::{
    admin::{Admin, http_failure},
    cli::{AdminArgs, KmsCommand, KmsTenantCommand},
    failure::{Failure, Kind, Outcome, chain},
};

mod keys;
mod operations;
mod transfer;

/// Runs `blindfold kms …`.
pub(crate) fn run(command: KmsCommand, json: bool) -> Outcome {
    match command {
        KmsCommand::Tenant(command) => tenant(command, json),
        KmsCommand::Key(command) => keys::run(command, json),
        KmsCommand::Encrypt(args) => operations::encrypt(&args, json),
        KmsCommand::Decrypt(args) => operations::decrypt(&args),
        KmsCommand::Hmac(args) => operations::hmac(&args, json),
        KmsCommand::HmacVerify(args) => operations::hmac_verify(&args, json),
        KmsCommand::Sign(args) => operations::sign(&args, json),
        KmsCommand::Verify(args) => operations::verify(&args, json),
        KmsCommand::DataKey(args) => operations::data_key(&args, json),
        KmsCommand::ReEncrypt(args) => operations::re_encrypt(&args, json),
        KmsCommand::PublicKey(args) => operations::public_key(&args, json),
        KmsCommand::Random(args) => operations::random(&args, json),
    }
}

fn connect(args: &AdminArgs) -> Outcome<AdminClient> {
    Admin::read(&args.admin)?.kms()
}

/// A failed administrative call, with the exit code that fits.
fn failed(error: &AdminError) -> Failure {
    match error {
        AdminError::Http(error) => http_failure(error),
        other => Failure::new(Kind::Data, chain(other)),
    }
}

fn tenant(command: KmsTenantCommand, json: bool) -> Outcome {
    let line = |tenant: &Tenant| {
        let admission = tenant
            .admission_digest
            .as_deref()
            .unwrap_or("admits nobody");
        format!(
            "{}\trevision {}\t{} keys\t{admission}",
            tenant.tenant, tenant.revision, tenant.keys
        )
    };
    match command {
        KmsTenantCommand::Create {
            admin,
            name,
            admission,
        } => {
            let admission = admission.as_deref().map(canonical_text).transpose()?;
            let made = connect(&admin)?.create_tenant(&name, admission.as_deref());
            one(&made.map_err(|e| failed(&e))?, json, line)
        }
        KmsTenantCommand::SetAdmission {
            admin,
            name,
            admission,
            revision,
        } => {
            let admission = admission.as_deref().map(canonical_text).transpose()?;
            let client = connect(&admin)?;
            let revision = match revision.expected_revision {
                Some(revision) => revision,
                None => {
                    let now = client.tenant(&name).map_err(|e| failed(&e))?;
                    now.tenant.revision
                }
            };
            let set = client.set_admission(&name, revision, admission.as_deref());
            one(&set.map_err(|e| failed(&e))?, json, line)
        }
        KmsTenantCommand::Show { admin, name } => {
            let detail = connect(&admin)?.tenant(&name).map_err(|e| failed(&e))?;
            if json {
                return super::print_json(&detail);
            }
            match detail.admission {
                Some(policy) => print(format_args!("{policy}\n")),
                None => Err(
                    Failure::data(format_args!("the tenant {name} admits nobody")).remedy(
                        format_args!(
                            "set a policy: blindfold kms tenant set-admission {name} FILE"
                        ),
                    ),
                ),
            }
        }
        KmsTenantCommand::List { admin } => {
            let all = connect(&admin)?.tenants().map_err(|e| failed(&e))?;
            list(&all, json, line)
        }
    }
}
