//! Replicas and backend processes of PostgreSQL that are killed at any moment lose nothing that was acknowledged.
//!
//! Three processes change keys over one PostgreSQL, each saying on standard output what it tries and what was
//! acknowledged. They, and the server's backends, are killed at random. In the end every acknowledgement must be
//! found in the store, no revision may have been left twice, and no use given twice.
//!
//! `KMS_CRASH_SECONDS=600 cargo nextest run -p kms killed_replicas` runs it longer.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    env,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use kms::store::{KmsStore, NewTenant, StoreConfig, StoreError};
use kms_client::{KeyId, State};
use serde::{Deserialize, Serialize};
use service::root_key::{RootKey, RootKeys};
use sha2::{Digest, Sha256};

use super::{Bench, keys};
use service::testing::Postgres;

const REPLICA: &str = "KMS_TEST_CRASH_REPLICA";
const SECONDS: &str = "KMS_CRASH_SECONDS";

/// Work of one replica, handed over in a file.
#[derive(Deserialize, Serialize)]
struct Orders {
    name: String,
    url: String,
    password_file: PathBuf,
    root: PathBuf,
    anchor: PathBuf,
    shared: KeyId,
}

/// What a replica says: before a change, and after it was acknowledged.
#[derive(Clone, Debug, Deserialize, Serialize)]
enum Said {
    Trying {
        key: KeyId,
        from: u64,
        what: What,
    },
    Done {
        key: KeyId,
        from: u64,
        revision: u64,
        what: What,
    },
    Reserved {
        first: u64,
        last: u64,
    },
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
enum What {
    Key { material: String },
    Version { number: u32, material: String },
    State { number: u32, state: State },
    Policy(String),
}

fn say(said: &Said) {
    let line = serde_json::to_string(said).unwrap();
    let mut out = std::io::stdout().lock();
    writeln!(out, "SAID {line}").unwrap();
    out.flush().unwrap();
}

fn random(below: u64) -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    u64::from_le_bytes(bytes) % below
}

fn hash(material: &[u8]) -> String {
    hex::encode(Sha256::digest(material))
}

/// Changes keys until it is killed.
async fn work(orders: &Orders) {
    let mut config = StoreConfig::postgres(&orders.url, &orders.anchor);
    config.password_file = Some(orders.password_file.clone().into());
    config.poll = Duration::from_millis(100);
    let roots = RootKeys::from(RootKey::load(&orders.root).unwrap());
    let store = loop {
        match KmsStore::open(&config, roots.clone()).await {
            Ok(store) => break store,
            Err(error) => assert!(error.is_passing(), "{error}"),
        }
    };
    let _follower = store.follow();
    let mut own: Vec<KeyId> = Vec::new();
    loop {
        let done = match random(8) {
            0 => create(&store, orders, &mut own).await,
            1 => match store
                .reserve_uses(&orders.shared, 1, 1 + random(50), u64::MAX)
                .await
            {
                Ok(block) => {
                    say(&Said::Reserved {
                        first: block.first,
                        last: block.last,
                    });
                    Ok(())
                }
                Err(error) => Err(error),
            },
            2 | 3 => change(&store, orders.shared).await,
            _ if own.is_empty() => Ok(()),
            _ => change(&store, own[random(own.len() as u64) as usize]).await,
        };
        match done {
            // Others were faster, or it can't be known: both are said by saying nothing.
            Ok(()) | Err(StoreError::Conflict { .. } | StoreError::OutcomeUnknown) => {}
            Err(error) => assert!(error.is_passing(), "{error}"),
        }
    }
}

async fn create(store: &KmsStore, orders: &Orders, own: &mut Vec<KeyId>) -> Result<(), StoreError> {
    let material = format!("{}-{}", orders.name, random(u64::MAX));
    let mut new = keys::key(&format!("{}-{}", orders.name, random(u64::MAX)));
    new.versions = vec![keys::version(1, material.as_bytes())];
    let (key, what) = (
        new.id,
        What::Key {
            material: hash(material.as_bytes()),
        },
    );
    say(&Said::Trying {
        key,
        from: 0,
        what: what.clone(),
    });
    let made = store.create_key(new).await?;
    say(&Said::Done {
        key,
        from: 0,
        revision: made.revision,
        what,
    });
    own.push(key);
    Ok(())
}

async fn change(store: &KmsStore, id: KeyId) -> Result<(), StoreError> {
    let key = store.snapshot().key(&id).unwrap().clone();
    let from = key.revision;
    let what = match random(3) {
        0 if key.versions.len() < 200 => What::Version {
            number: key.next_version(),
            material: format!("material-{}", random(u64::MAX)),
        },
        1 => What::State {
            number: 1 + random(u64::from(key.next_version() - 1)) as u32,
            state: [State::Enabled, State::DecryptOnly, State::Disabled][random(3) as usize],
        },
        _ => What::Policy(format!("policy-{}", random(u64::MAX))),
    };
    // The first version of the shared key is the one whose uses are reserved.
    if matches!(what, What::State { number: 1, .. }) {
        return Ok(());
    }
    say(&Said::Trying {
        key: id,
        from,
        what: what.clone(),
    });
    let done = match &what {
        What::Version { number, material } => {
            let new = keys::version(*number, material.as_bytes());
            store.add_version(&id, from, new, random(2) == 0).await?
        }
        What::State { number, state } => {
            store
                .set_state(&id, from, *number, *state, None, keys::NOW)
                .await?
        }
        What::Policy(policy) => store.set_policy(&id, from, Some(policy.clone())).await?,
        What::Key { .. } => unreachable!("made in `create`"),
    };
    say(&Said::Done {
        key: id,
        from,
        revision: done.revision,
        what,
    });
    Ok(())
}

/// Run by itself it does nothing; run by the test below it is a victim.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replica_that_is_killed() {
    if let Some(path) = env::var_os(REPLICA) {
        let orders = std::fs::read(path).unwrap();
        work(&serde_json::from_slice(&orders).unwrap()).await;
    }
}

/// A victim whose lines are gathered.
struct Victim {
    child: Child,
    heard: mpsc::Receiver<Vec<Said>>,
}

impl Victim {
    fn start(orders: &Path) -> Self {
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(env::current_exe().unwrap())
            .args([
                "--exact",
                "store::crash::replica_that_is_killed",
                "--nocapture",
            ])
            .env(REPLICA, orders)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (said, heard) = mpsc::channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            // The last line may be cut: it was not said then.
            let lines = output.lines().map_while(Result::ok);
            let all =
                lines.filter_map(|line| serde_json::from_str(line.strip_prefix("SAID ")?).ok());
            let _ = said.send(all.collect());
        });
        Self { child, heard }
    }

    fn kill(&mut self) -> Vec<Said> {
        assert!(
            self.child.try_wait().unwrap().is_none(),
            "a replica ended by itself"
        );
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.heard.recv().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_replicas_and_backends_lose_nothing_acknowledged() {
    let seconds = env::var(SECONDS).map_or(15, |text| text.parse().unwrap());
    let server = Postgres::start();
    let bench = Bench::postgres(&server, "crash").await;
    let store = bench.open("judge").await;
    let admission = NewTenant {
        name: "acme".into(),
        admission: None,
        created_at: keys::NOW,
    };
    store.create_tenant(admission).await.unwrap();
    let shared = store.create_key(keys::key("shared")).await.unwrap();
    let orders: Vec<PathBuf> = (0..3)
        .map(|i| {
            let name = format!("r{i}");
            let path = bench.folder.path().join(format!("{name}.json"));
            let orders = Orders {
                url: server.url("crash"),
                password_file: server.password_file(),
                root: bench.folder.path().join("first.root"),
                anchor: bench.anchor(&name),
                shared: shared.id,
                name,
            };
            std::fs::write(&path, serde_json::to_vec(&orders).unwrap()).unwrap();
            path
        })
        .collect();

    let mut said = Vec::new();
    let mut victims: Vec<Victim> = orders.iter().map(|path| Victim::start(path)).collect();
    let (mut replicas_killed, mut backends_killed) = (0, 0);
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(200 + random(900))).await;
        if random(4) == 0 {
            let backends = server.backends();
            if !backends.is_empty() {
                let pid = backends[random(backends.len() as u64) as usize];
                let pid = rustix::process::Pid::from_raw(pid).unwrap();
                if rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_ok() {
                    backends_killed += 1;
                }
            }
        } else {
            let i = random(3) as usize;
            said.extend(victims[i].kill());
            replicas_killed += 1;
            victims[i] = Victim::start(&orders[i]);
        }
    }
    for victim in &mut victims {
        said.extend(victim.kill());
        replicas_killed += 1;
    }
    drop(store);
    let judge = loop {
        match bench.try_open("judge").await {
            Ok(store) => break store,
            Err(error) => assert!(error.is_passing(), "{error}"),
        }
    };
    let (acknowledged, losses) = judged(&judge, &shared.id, &said).await;
    println!(
        "{{\"kills_of_replicas\": {replicas_killed}, \"kills_of_backends\": {backends_killed}, \"acknowledged_changes\": {acknowledged}, \"losses\": {}}}",
        losses.len()
    );
    assert!(losses.is_empty(), "{losses:#?}");
    assert!(
        acknowledged > 20,
        "only {acknowledged} changes: {}",
        server.log()
    );
}

/// How many changes were acknowledged, and what is missing of them.
async fn judged(store: &KmsStore, shared: &KeyId, said: &[Said]) -> (usize, Vec<String>) {
    let view = store.snapshot();
    let (mut acknowledged, mut losses) = (0, Vec::new());
    let mut left: HashSet<(KeyId, u64)> = HashSet::new();
    let mut last: HashMap<KeyId, u64> = HashMap::new();
    let mut blocks: BTreeMap<u64, u64> = BTreeMap::new();
    for said in said {
        match said {
            Said::Trying { .. } => {}
            Said::Reserved { first, last } => {
                acknowledged += 1;
                if blocks.insert(*first, *last).is_some() {
                    losses.push(format!("uses from {first} were given twice"));
                }
            }
            Said::Done {
                key,
                from,
                revision,
                what,
            } => {
                acknowledged += 1;
                // A change that was lost would let another one start from the same revision.
                if !left.insert((*key, *from)) {
                    losses.push(format!("revision {from} of key {key} was left twice"));
                }
                let newest = last.entry(*key).or_default();
                *newest = (*newest).max(*revision);
                let Some(found) = view.key(key) else {
                    losses.push(format!("key {key} is gone"));
                    continue;
                };
                let material = |number: u32| {
                    store
                        .material(found, number)
                        .map(|bytes| hash(&bytes))
                        .unwrap_or_default()
                };
                let kept = match what {
                    What::Key { material: wanted } => material(1) == *wanted,
                    What::Version {
                        number,
                        material: wanted,
                    } => material(*number) == hash(wanted.as_bytes()),
                    What::State { .. } | What::Policy(_) => true,
                };
                if !kept {
                    losses.push(format!("{what:?} of key {key} is gone"));
                }
            }
        }
    }
    let mut end = 0;
    for (first, last) in blocks {
        if first <= end {
            losses.push(format!("uses {first} to {end} were given twice"));
        }
        end = last;
    }
    if store.usage(shared, 1).await.reserved < end {
        losses.push(format!(
            "fewer uses are counted than the {end} that were given"
        ));
    }
    for (key, newest) in last {
        let Some(found) = view.key(&key) else {
            continue;
        };
        if found.revision < newest {
            losses.push(format!(
                "key {key} is at {}, acknowledged was {newest}",
                found.revision
            ));
        }
    }
    // States and policies: what was acknowledged last holds, or something that was tried from a revision since.
    for key in view.keys() {
        for (number, version) in &key.versions {
            check_last(said, key.id, &mut losses, |what| match what {
                What::State { number: n, state } if n == number => Some(*state == version.state),
                _ => None,
            });
        }
        check_last(said, key.id, &mut losses, |what| match what {
            What::Policy(policy) => Some(key.policy.as_ref() == Some(policy)),
            _ => None,
        });
    }
    (acknowledged, losses)
}

fn check_last(
    said: &[Said],
    id: KeyId,
    losses: &mut Vec<String>,
    holds: impl Fn(&What) -> Option<bool>,
) {
    let done = said.iter().filter_map(|said| match said {
        Said::Done {
            key,
            revision,
            what,
            ..
        } if *key == id && holds(what).is_some() => Some((*revision, what)),
        _ => None,
    });
    let Some((revision, last)) = done.max_by_key(|(revision, _)| *revision) else {
        return;
    };
    let later = said.iter().any(|said| match said {
        Said::Trying { key, from, what } => {
            *key == id && *from >= revision && holds(what) == Some(true)
        }
        _ => false,
    });
    if holds(last) != Some(true) && !later {
        losses.push(format!(
            "{last:?} of key {id} at revision {revision} is gone"
        ));
    }
}
