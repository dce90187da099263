//! How large sealed values are: exact, since every field of the format has its size.
//!
//! For a tenant and a label of n and m bytes: 46 + m for the frame, 152 + n and the policy for each lock of an
//! authority, 1191 + n for each site lock, then 48 and the padded content.

use crate::program::Bench;

/// Header, whole object, and characters in one line, of a value of 30 bytes.
fn size(bench: &Bench, words: &str) -> (u64, u64, usize) {
    let text = bench.text(&format!("seal {words} --label db.password"), &[b'x'; 30]);
    let shown = bench.json("inspect --json", text.as_bytes());
    let of = |name: &str| shown[name].as_u64().unwrap();
    let header = of("header_bytes");
    (header, header + of("payload_bytes"), text.trim_end().len())
}

#[test]
fn sealed_values_have_these_sizes() {
    let bench = Bench::new();
    for name in ["a", "b", "c"] {
        bench.ok(
            &format!("key generate --authority unsealer-{name}.acme.example --tenant acme -o {name}.key --public {name}.pub"),
            b"",
        );
    }
    bench.ok(
        "key generate --kind site --authority paris --tenant acme -o site.key --public site.pub",
        b"",
    );
    let policy = "v: 1\nname: payments-db\nrules:\n  - effect: allow\n    actions: [open]\n    \
                  principal: {spiffe_id: spiffe://acme.example/paris/ns/payments/sa/api, selector: environment=production}\n";
    bench.write("policy.yaml", policy);
    let inline = bench.text("policy check --canonical policy.yaml", b"");
    let inline = inline.trim_end().len() as u64;
    assert_eq!(inline, 187);

    let one = "--key a.pub";
    let two = "--key a.pub --key b.pub --threshold 2";
    let three = "--key a.pub --key b.pub --key c.pub --threshold 2";
    let site = "--site-lock site.pub";
    // The policy by name (13 bytes), by digest (48 bytes), in whole (187 bytes).
    for (words, sizes) in [
        (
            format!("{one} --policy-name payments/db01"),
            (226, 530, 715),
        ),
        (
            format!("{two} --policy-name payments/db01"),
            (395, 699, 940),
        ),
        (
            format!("{three} --policy-name payments/db01"),
            (564, 868, 1166),
        ),
        (
            format!("{one} --policy-digest-of policy.yaml"),
            (261, 565, 762),
        ),
        (format!("{one} --policy policy.yaml"), (400, 704, 947)),
        (format!("{three} --policy policy.yaml"), (1086, 1390, 1862)),
        (
            format!("{one} {site} --policy-name payments/db01"),
            (1421, 1725, 2308),
        ),
        (
            format!("{three} {site} --policy policy.yaml"),
            (2281, 2585, 3455),
        ),
        (
            format!("{one} --policy-name payments/db01 --no-pad"),
            (226, 304, 414),
        ),
    ] {
        assert_eq!(size(&bench, &words), sizes, "{words}");
    }
}
