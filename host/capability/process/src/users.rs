//! Whom a session runs as: from `name`, `number`, or either with `:group`, to ids.
//!
//! Only `/etc/passwd` and `/etc/group` are asked. A name service elsewhere would be a library call that may block, and
//! a number works for everybody.

use std::fs;

use seawall_supervisor::record::User;

/// A user, and what the environment says of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) user: User,
    /// The login name, or the number where there is none.
    pub(crate) name: String,
    pub(crate) home: Option<String>,
}

/// What the machine knows of users.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directory {
    passwd: String,
    group: String,
}

/// `nobody` and `nogroup` where no file says otherwise.
const NOBODY: u32 = 65534;

impl Directory {
    /// Reads the files; a missing one is empty.
    pub(crate) fn read() -> Self {
        let read = |path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        Self { passwd: read("/etc/passwd"), group: read("/etc/group") }
    }

    /// The account that `text` names, or what is wrong with it.
    pub(crate) fn account(&self, text: &str) -> Result<Account, String> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let number = user.parse::<u32>().ok();
        if number == Some(u32::MAX) {
            return Err(format!("{user} is no user number"));
        }
        let mut account = match (self.find_user(user, number), number) {
            (Some(account), _) => account,
            (None, Some(uid)) => Account { user: User { uid, gid: NOBODY }, name: uid.to_string(), home: None },
            (None, None) if user == "nobody" => {
                Account { user: User { uid: NOBODY, gid: NOBODY }, name: user.to_owned(), home: None }
            }
            (None, None) => return Err(format!("this machine has no user {user:?}; a number works as well")),
        };
        if let Some(group) = group {
            account.user.gid = self.find_group(group)?;
        }
        Ok(account)
    }

    /// The account of this number.
    pub(crate) fn account_of(&self, user: User) -> Account {
        match self.find_user("", Some(user.uid)) {
            Some(account) => Account { user, ..account },
            None => Account { user, name: user.uid.to_string(), home: None },
        }
    }

    fn find_user(&self, name: &str, number: Option<u32>) -> Option<Account> {
        self.passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let (login, _, uid, gid, _, home) = (
                fields.next()?,
                fields.next()?,
                fields.next()?.parse::<u32>().ok()?,
                fields.next()?.parse::<u32>().ok()?,
                fields.next()?,
                fields.next()?,
            );
            let home = home.starts_with('/').then(|| home.to_owned());
            (login == name || number == Some(uid)).then(|| Account {
                user: User { uid, gid },
                name: login.to_owned(),
                home,
            })
        })
    }

    fn find_group(&self, group: &str) -> Result<u32, String> {
        let named = self.group.lines().find_map(|line| {
            let mut fields = line.split(':');
            let (name, gid) = (fields.next()?, fields.nth(1)?);
            (name == group).then(|| gid.parse::<u32>().ok()).flatten()
        });
        named
            .or_else(|| group.parse().ok().filter(|gid| *gid != u32::MAX))
            .ok_or_else(|| format!("this machine has no group {group:?}; a number works as well"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> Directory {
        Directory {
            passwd: "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1001::/home/alice:/bin/sh\nbroken\nodd:x:y:z::\n"
                .into(),
            group: "staff:x:50:alice\nbroken\n".into(),
        }
    }

    #[test]
    fn names_and_numbers_lead_to_the_same_account() {
        let alice = directory().account("alice").unwrap();
        assert_eq!(alice, directory().account("1000").unwrap());
        assert_eq!((alice.user.uid, alice.user.gid, alice.home.as_deref()), (1000, 1001, Some("/home/alice")));
        assert_eq!(directory().account("alice:staff").unwrap().user.gid, 50);
        assert_eq!(directory().account("alice:7").unwrap().user.gid, 7);
    }

    #[test]
    fn a_number_without_a_name_gets_no_group_that_means_anything() {
        assert_eq!(directory().account("4242").unwrap().user, User { uid: 4242, gid: NOBODY });
    }

    #[test]
    fn what_is_not_there_is_named() {
        for bad in ["bob", "", "odd", "alice:wheel", "4294967295", "alice:4294967295", "-1"] {
            assert!(directory().account(bad).is_err(), "{bad}");
        }
    }
}
