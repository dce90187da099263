//! Values in JSON.

use zeroize::Zeroizing;

pub(super) fn string(text: &str) -> Option<Zeroizing<String>> {
    // Sized for the longest escapes, so that it never grows and leaves no copy behind.
    let mut quoted = Zeroizing::new(Vec::with_capacity(text.len() * 6 + 2));
    serde_json::to_writer(&mut *quoted, text).ok()?;
    std::str::from_utf8(&quoted)
        .ok()
        .map(|quoted| Zeroizing::new(quoted.to_owned()))
}
