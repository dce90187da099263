//! Process on the authority's own host.

/// Who is at the other end of a Unix socket.
#[derive(Debug)]
pub struct UnixPeer {
    _private: (),
}
