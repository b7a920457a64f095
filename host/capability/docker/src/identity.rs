//! Whose container it is: name, stamp and the Engine's id.
//!
//! A container is ours for a key if its name is the one that is made of the key, *and* its labels say the same, *and*,
//! where the key's handle is known, it has that id. Labels alone are forged by an image that was committed from one of
//! our containers; a name alone is anybody's to take.

use seawall_backend::Error;
use seawall_model::{BackendName, Incarnation, Key, SessionId, StoreId};

pub(crate) const STORE: &str = "seawall.store";
pub(crate) const BACKEND: &str = "seawall.backend";
pub(crate) const SESSION: &str = "seawall.session";
pub(crate) const INCARNATION: &str = "seawall.incarnation";
/// What the user calls the session: for people, and never gone by.
pub(crate) const NAME: &str = "seawall.name";
/// `1` where a health check is active, so that a sweep asks about health only where there is any.
pub(crate) const HEALTH: &str = "seawall.health";
/// No user's label begins so.
pub(crate) const PREFIX: &str = "seawall.";

/// What stands on a container, as the Engine gives it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stamp<'a> {
    pub(crate) id: &'a str,
    /// Without the slash that Docker puts before it.
    pub(crate) name: &'a str,
    pub(crate) store: Option<&'a str>,
    pub(crate) backend: Option<&'a str>,
    pub(crate) session: Option<&'a str>,
    pub(crate) incarnation: Option<&'a str>,
}

/// The namespace that containers belong to.
#[derive(Clone, Debug)]
pub(crate) struct Namespace {
    pub(crate) store: StoreId,
    pub(crate) backend: BackendName,
}

impl Namespace {
    /// The name that the key's container has and no other may take. It is no id's beginning, since those are
    /// hexadecimal.
    pub(crate) fn name(&self, session: &SessionId, incarnation: Incarnation) -> String {
        format!("seawall-{}-{session}-{incarnation}", self.store)
    }

    /// What a listing is filtered by.
    pub(crate) fn filters(&self) -> [String; 2] {
        [format!("{STORE}={}", self.store), format!("{BACKEND}={}", self.backend)]
    }

    /// The session and incarnation of a container of this namespace; `None` for anybody else's.
    pub(crate) fn parse<'a>(&self, stamp: &Stamp<'a>) -> Option<(&'a str, Incarnation)> {
        if stamp.store != Some(self.store.as_str()) || stamp.backend != Some(self.backend.as_str()) {
            return None;
        }
        let (session, number) = (stamp.session?, stamp.incarnation?);
        // The name has to be made of the labels, part by part: `app-1` is no beginning of `app-12`.
        let rest = stamp.name.strip_prefix("seawall-")?.strip_prefix(self.store.as_str())?.strip_prefix('-')?;
        let rest = rest.strip_prefix(session)?.strip_prefix('-')?;
        // `01` and `+1` are numbers, and not what we write.
        let plain = number.starts_with(|c: char| matches!(c, '1'..='9')) && number.bytes().all(|b| b.is_ascii_digit());
        let valid = rest == number && plain && session.len() == 16 && session.bytes().all(is_hex);
        valid.then_some(())?;
        Some((session, number.parse().ok()?))
    }

    /// Whether it is the key's container.
    pub(crate) fn owns(&self, stamp: &Stamp<'_>, key: &Key, id: Option<&str>) -> bool {
        id.is_none_or(|id| id == stamp.id)
            && self
                .parse(stamp)
                .is_some_and(|(session, number)| session == key.session.as_str() && number == key.incarnation)
    }
}

/// The Engine's id in the key's handle, if the handle is known.
///
/// # Errors
/// `Invalid` for a handle that this capability never gave: it would become part of a URL.
pub(crate) fn handle(key: &Key) -> Result<Option<&str>, Error> {
    let Some(handle) = &key.handle else { return Ok(None) };
    match std::str::from_utf8(handle) {
        Ok(id) if is_id(id) => Ok(Some(id)),
        _ => Err(Error::invalid("handle", "not the id of a container: give back what `create` gave")),
    }
}

/// Whether it is a whole id as the Engine writes it.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(is_hex)
}

fn is_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const SESSION_ID: &str = "00000000000000aa";

    fn namespace(backend: &str) -> Namespace {
        Namespace { store: "0000abcd".parse().unwrap(), backend: backend.parse().unwrap() }
    }

    fn key(incarnation: u64, handle: Option<&str>) -> Key {
        Key { session: SESSION_ID.parse().unwrap(), incarnation, handle: handle.map(|h| h.as_bytes().to_vec()) }
    }

    fn stamp() -> Stamp<'static> {
        Stamp {
            id: ID,
            name: "seawall-0000abcd-00000000000000aa-3",
            store: Some("0000abcd"),
            backend: Some("app"),
            session: Some(SESSION_ID),
            incarnation: Some("3"),
        }
    }

    #[test]
    fn a_container_is_owned_by_name_and_stamp_and_id() {
        let ours = namespace("app");
        assert_eq!(ours.name(&SESSION_ID.parse().unwrap(), 3), stamp().name);
        assert!(ours.owns(&stamp(), &key(3, None), None));
        assert!(ours.owns(&stamp(), &key(3, None), Some(ID)));

        let other = "f".repeat(64);
        assert!(!ours.owns(&stamp(), &key(3, None), Some(&other)), "another id");
        assert!(!ours.owns(&stamp(), &key(30, None), None), "another incarnation");
        assert!(!ours.owns(&Stamp { name: "web", ..stamp() }, &key(3, None), None), "labels of a committed image");
        assert!(!ours.owns(&Stamp { session: None, ..stamp() }, &key(3, None), None), "a name that was taken");
        assert!(!ours.owns(&Stamp { incarnation: Some("03"), ..stamp() }, &key(3, None), None), "not as we write");
        assert!(!ours.owns(&Stamp { store: Some("0000abce"), ..stamp() }, &key(3, None), None), "another store");
    }

    #[test]
    fn app_never_matches_app2() {
        assert!(namespace("app2").parse(&stamp()).is_none());
        assert!(namespace("ap").parse(&stamp()).is_none());
        assert!(namespace("app").parse(&Stamp { backend: Some("app2"), ..stamp() }).is_none());
        assert!(namespace("app").parse(&stamp()).is_some());
    }

    #[test]
    fn a_handle_that_we_never_gave_is_refused() {
        assert_eq!(handle(&key(1, Some(ID))), Ok(Some(ID)));
        assert_eq!(handle(&key(1, None)), Ok(None));
        for bad in ["", "abc", "../../images/json", &ID.to_uppercase(), &format!("{ID}0")] {
            assert!(handle(&key(1, Some(bad))).is_err(), "{bad}");
        }
    }
}
