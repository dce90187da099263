//! Thousands of rotations on both sides while requests go on: none is dropped.
//!
//! Twenty seconds, or `BLINDFOLD_ROTATION_SECONDS`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use identity::tls::ClientAuth;
use wingman_sdk::{http::HttpClient, identity::IdentitySource};

use crate::{
    issuing::TestAuthority,
    server::{Reply, TestServer},
    world::id,
};

/// Ends the others, too, when a thread fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn no_request_is_dropped_by_thousands_of_rotations() {
    let seconds = std::env::var("BLINDFOLD_ROTATION_SECONDS");
    let seconds = seconds.map_or(20, |text| text.parse().unwrap());
    let authority = TestAuthority::start();
    let tokens = [
        authority.token("paris/api"),
        authority.token("paris/client"),
    ];
    let [server_source, client_source] = tokens.map(IdentitySource::from_join_token);
    let served = server_source.obtain().unwrap();
    let server = TestServer::start(Arc::clone(&served), ClientAuth::Required, |received| {
        let peer = received.peer.as_ref().unwrap().spiffe_id().to_string();
        Reply::json(200, serde_json::to_vec(&peer).unwrap())
    });
    let client = HttpClient::new(
        client_source.obtain().unwrap(),
        &server.url(),
        &id("paris/api"),
    )
    .unwrap();
    let stop = AtomicBool::new(false);
    let (requests, rotations) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let start = Instant::now();
    thread::scope(|scope| {
        for source in [&server_source, &client_source] {
            scope.spawn(|| {
                let _ends = Ends(&stop);
                while !stop.load(Ordering::SeqCst) {
                    source.renew().unwrap();
                    rotations.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for _ in 0..4 {
            scope.spawn(|| {
                let _ends = Ends(&stop);
                while !stop.load(Ordering::SeqCst) {
                    let seen: String = client.post_json("/", "x").unwrap();
                    assert_eq!(seen, id("paris/client").to_string());
                    requests.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let _ends = Ends(&stop);
        let rotated = || rotations.load(Ordering::SeqCst);
        while !stop.load(Ordering::SeqCst)
            && (start.elapsed() < Duration::from_secs(seconds) || rotated() < 200)
        {
            assert!(start.elapsed() < Duration::from_secs(seconds + 60), "stuck");
            thread::sleep(Duration::from_millis(20));
        }
    });
    println!(
        "{} rotations of both sides in {:.1} s, {} requests on {} connections, 0 dropped",
        rotations.load(Ordering::SeqCst),
        start.elapsed().as_secs_f64(),
        requests.load(Ordering::SeqCst),
        server.connections(),
    );
    assert!(requests.load(Ordering::SeqCst) > 100);
}
