//! `blindfold unsealer`: administer an unsealer over its administration API.

use serde::{Serialize, de::DeserializeOwned};
use unsealer::wire::{self, path};
use wingman_sdk::http::HttpClient;

use super::{canonical_text, list, one, print, print_json};
use crate::{
    admin::{Admin, http_failure},
    cli::{
        AdminArgs, DenyCommand, DocumentCommand, KeyStateWord, NamedPolicyCommand, TenantCommand,
        UnsealerCommand, UnsealerKeyCommand,
    },
    failure::{Failure, Outcome},
    files,
};

/// Runs `blindfold unsealer …`.
pub(crate) fn run(command: UnsealerCommand, json: bool) -> Outcome {
    match command {
        UnsealerCommand::Tenant(command) => tenant(command, json),
        UnsealerCommand::Key(command) => key(command, json),
        UnsealerCommand::Policy(command) => policy(command, json),
        UnsealerCommand::Document(command) => document(command, json),
        UnsealerCommand::Deny(command) => deny(command, json),
    }
}

/// A connection to the administration API.
struct Api(HttpClient);

impl Api {
    fn connect(args: &AdminArgs) -> Outcome<Self> {
        Ok(Self(Admin::read(&args.admin)?.unsealer()?))
    }

    fn call<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Outcome<T> {
        self.0.post_json(path, body).map_err(|e| http_failure(&e))
    }

    /// All pages of a list: `page` asks for the one after a name, `split` takes an answer apart.
    fn pages<P: DeserializeOwned, B: Serialize, T>(
        &self,
        path: &str,
        page: impl Fn(Option<String>) -> B,
        split: impl Fn(P) -> (Vec<T>, Option<String>),
    ) -> Outcome<Vec<T>> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let (mut entries, next) = split(self.call(path, &page(after))?);
            all.append(&mut entries);
            after = next;
            if after.is_none() {
                return Ok(all);
            }
        }
    }
}

fn tenant(command: TenantCommand, json: bool) -> Outcome {
    let line = |tenant: &wire::Tenant| {
        let admission = tenant
            .admission_digest
            .as_deref()
            .unwrap_or("admits nobody");
        format!("{}\tversion {}\t{admission}", tenant.tenant, tenant.version)
    };
    match command {
        TenantCommand::Create {
            admin,
            name,
            admission,
        } => {
            let admission = admission.as_deref().map(canonical_text).transpose()?;
            let request = wire::CreateTenant {
                tenant: name,
                admission,
            };
            one(
                &Api::connect(&admin)?.call(path::CREATE_TENANT, &request)?,
                json,
                line,
            )
        }
        TenantCommand::SetAdmission {
            admin,
            name,
            admission,
        } => {
            let admission = admission.as_deref().map(canonical_text).transpose()?;
            let api = Api::connect(&admin)?;
            let now: wire::TenantDetail = api.call(
                path::GET_TENANT,
                &wire::GetTenant {
                    tenant: name.clone(),
                },
            )?;
            let request = wire::SetAdmission {
                tenant: name,
                expected_version: now.tenant.version,
                admission,
            };
            one(&api.call(path::SET_ADMISSION, &request)?, json, line)
        }
        TenantCommand::List { admin } => {
            let all: wire::Tenants =
                Api::connect(&admin)?.call(path::LIST_TENANTS, &wire::ListTenants {})?;
            list(&all.tenants, json, line)
        }
    }
}

fn key(command: UnsealerKeyCommand, json: bool) -> Outcome {
    let line = |key: &wire::Key| {
        format!(
            "{}\t{}\t{}\tversion {}\t{}\t{} evaluations",
            key.key_id, key.tenant, key.authority, key.key_version, key.state, key.evaluations
        )
    };
    match command {
        UnsealerKeyCommand::Generate {
            admin,
            tenant,
            key_version,
        } => {
            let request = wire::GenerateKey {
                tenant: tenant.tenant,
                key_version,
            };
            let key: wire::Key = Api::connect(&admin)?.call(path::GENERATE_KEY, &request)?;
            // The record is what sealers need next.
            if json {
                print_json(&key)
            } else {
                print(format_args!("{}\n", key.record))
            }
        }
        UnsealerKeyCommand::Import {
            admin,
            file,
            evaluations,
        } => {
            let bytes = files::read_secret(&file)?;
            let api = Api::connect(&admin)?;
            let key: wire::Key = api
                .0
                .post_bytes(
                    &path::import_key(evaluations),
                    wire::KEY_FILE_CONTENT_TYPE,
                    &bytes,
                )
                .map_err(|e| http_failure(&e))?;
            one(&key, json, line)
        }
        UnsealerKeyCommand::SetState {
            admin,
            key_id,
            state,
        } => {
            let api = Api::connect(&admin)?;
            let all: wire::Keys = api.call(path::LIST_KEYS, &wire::ListKeys { tenant: None })?;
            let Some(key) = all.keys.into_iter().find(|key| key.key_id == key_id) else {
                return Err(
                    Failure::data(format_args!("the unsealer has no key {key_id}"))
                        .remedy("list them with: blindfold unsealer key list"),
                );
            };
            let request = wire::SetKeyState {
                key_id,
                expected_state: key.state,
                state: state_name(state).to_owned(),
            };
            one(&api.call(path::SET_KEY_STATE, &request)?, json, line)
        }
        UnsealerKeyCommand::List { admin, tenant } => {
            let all: wire::Keys =
                Api::connect(&admin)?.call(path::LIST_KEYS, &wire::ListKeys { tenant })?;
            list(&all.keys, json, line)
        }
    }
}

fn state_name(state: KeyStateWord) -> &'static str {
    match state {
        KeyStateWord::Active => "ACTIVE",
        KeyStateWord::OpenOnly => "OPEN_ONLY",
        KeyStateWord::Retired => "RETIRED",
        KeyStateWord::Compromised => "COMPROMISED",
    }
}

fn policy(command: NamedPolicyCommand, json: bool) -> Outcome {
    let line = |policy: &wire::NamedPolicy| {
        let digest = policy.digest.as_deref().unwrap_or("removed");
        format!("{}\tversion {}\t{digest}", policy.name, policy.version)
    };
    match command {
        NamedPolicyCommand::Put {
            admin,
            tenant,
            name,
            file,
        } => {
            let document = canonical_text(&file)?;
            let api = Api::connect(&admin)?;
            let expected_version = latest_version(&api, &tenant.tenant, &name)?;
            let request = wire::PutPolicy {
                tenant: tenant.tenant,
                name,
                document,
                expected_version,
            };
            one(&api.call(path::PUT_POLICY, &request)?, json, line)
        }
        NamedPolicyCommand::Get {
            admin,
            tenant,
            name,
        } => {
            let request = wire::GetPolicy {
                tenant: tenant.tenant,
                name,
                version: None,
            };
            let detail: wire::NamedPolicyDetail =
                Api::connect(&admin)?.call(path::GET_POLICY, &request)?;
            one(&detail, json, |detail| {
                detail.document.clone().unwrap_or_default()
            })
        }
        NamedPolicyCommand::List { admin, tenant } => {
            let all = Api::connect(&admin)?.pages(
                path::LIST_POLICIES,
                |after| wire::ListPolicies {
                    tenant: tenant.tenant.clone(),
                    after,
                },
                |page: wire::NamedPolicies| (page.policies, page.next),
            )?;
            list(&all, json, line)
        }
        NamedPolicyCommand::Remove {
            admin,
            tenant,
            name,
        } => {
            let api = Api::connect(&admin)?;
            let expected_version = latest_version(&api, &tenant.tenant, &name)?;
            let request = wire::RemovePolicy {
                tenant: tenant.tenant,
                name,
                expected_version,
            };
            one(&api.call(path::REMOVE_POLICY, &request)?, json, line)
        }
    }
}

/// The newest version of a name, removals included; 0 for a name never used.
fn latest_version(api: &Api, tenant: &str, name: &str) -> Outcome<u64> {
    let request = wire::PolicyHistory {
        tenant: tenant.to_owned(),
        name: name.to_owned(),
    };
    let history: wire::NamedPolicies = api.call(path::POLICY_HISTORY, &request)?;
    Ok(history
        .policies
        .iter()
        .map(|policy| policy.version)
        .max()
        .unwrap_or(0))
}

fn document(command: DocumentCommand, json: bool) -> Outcome {
    let line = |document: &wire::Document| document.digest.clone();
    match command {
        DocumentCommand::Register {
            admin,
            tenant,
            file,
        } => {
            let request = wire::RegisterDocument {
                tenant: tenant.tenant,
                document: canonical_text(&file)?,
            };
            one(
                &Api::connect(&admin)?.call(path::REGISTER_DOCUMENT, &request)?,
                json,
                line,
            )
        }
        DocumentCommand::List { admin, tenant } => {
            let all = Api::connect(&admin)?.pages(
                path::LIST_DOCUMENTS,
                |after| wire::ListDocuments {
                    tenant: tenant.tenant.clone(),
                    after,
                },
                |page: wire::Documents| (page.documents, page.next),
            )?;
            list(&all, json, line)
        }
    }
}

fn deny(command: DenyCommand, json: bool) -> Outcome {
    let line = |denied: &wire::DeniedDigest| format!("{}\t{}", denied.digest, denied.note);
    match command {
        DenyCommand::Add {
            admin,
            tenant,
            digest,
            reason,
        } => {
            let request = wire::DenyDigest {
                tenant: tenant.tenant,
                digest,
                note: reason,
            };
            one(
                &Api::connect(&admin)?.call(path::DENY_DIGEST, &request)?,
                json,
                line,
            )
        }
        DenyCommand::Remove {
            admin,
            tenant,
            digest,
        } => {
            let request = wire::AllowDigest {
                tenant: tenant.tenant,
                digest,
            };
            let removed: wire::Removed =
                Api::connect(&admin)?.call(path::ALLOW_DIGEST, &request)?;
            one(&removed, json, |removed| {
                if removed.removed {
                    "removed".to_owned()
                } else {
                    "was not on the list".to_owned()
                }
            })
        }
        DenyCommand::List { admin, tenant } => {
            let all = Api::connect(&admin)?.pages(
                path::LIST_DENIED,
                |after| wire::ListDenied {
                    tenant: tenant.tenant.clone(),
                    after,
                },
                |page: wire::DeniedDigests| (page.denied, page.next),
            )?;
            list(&all, json, line)
        }
    }
}
