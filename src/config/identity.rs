//! The user and group that the process serves as, when root starts it.
//!
//! Knows the system's user database and the calls that change the identity of the process. What needs
//! which identity is decided by the callers.

use std::ffi::CString;
use std::io;

use nix::unistd::{Gid, Group, Uid, User};

/// Who serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    user: String,
    group: String,
    uid: Uid,
    gid: Gid,
    /// Supplementary groups of the user, `gid` among them.
    groups: Vec<Gid>,
}

/// Why the configured user and group cannot be taken on.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The system has no user of that name.
    #[error("no such user on this machine")]
    UnknownUser,
    /// The system has no group of that name.
    #[error("no such group on this machine")]
    UnknownGroup,
    /// Only root can become another user.
    #[error("only root can start as one user and serve as another")]
    UserNotOwn,
    /// Only root can become a member of another group.
    #[error("only root can start in one group and serve in another")]
    GroupNotOwn,
    /// The user database does not answer.
    #[error("the system's users cannot be looked up: {0}")]
    System(#[from] io::Error),
}

impl Identity {
    /// Looks up a user and a group. `None` when the process has both already, or when neither is named.
    ///
    /// A user without a group brings its primary group. A group without a user leaves the user as it is.
    ///
    /// # Errors
    /// One of them is unknown, or the process is not root and has another.
    pub fn find(user: Option<&str>, group: Option<&str>) -> Result<Option<Self>, IdentityError> {
        if user.is_none() && group.is_none() {
            return Ok(None);
        }
        let own = (Uid::effective(), Gid::effective());
        let found = match user {
            Some(name) => User::from_name(name).map_err(io::Error::from)?,
            None => User::from_uid(own.0).map_err(io::Error::from)?,
        };
        let found = found.ok_or(IdentityError::UnknownUser)?;
        let found_group = match group {
            Some(name) => Group::from_name(name).map_err(io::Error::from)?,
            None => Group::from_gid(found.gid).map_err(io::Error::from)?,
        };
        let (gid, group_name) = match (found_group, group) {
            (Some(found), _) => (found.gid, found.name),
            (None, Some(_)) => return Err(IdentityError::UnknownGroup),
            // A primary group may be a number without a name.
            (None, None) => (found.gid, found.gid.to_string()),
        };
        if found.uid == own.0 && (gid == own.1 || group.is_none()) {
            return Ok(None);
        }
        if !own.0.is_root() {
            if found.uid != own.0 {
                return Err(IdentityError::UserNotOwn);
            }
            return Err(IdentityError::GroupNotOwn);
        }
        let name = CString::new(found.name.as_str()).map_err(io::Error::from)?;
        Ok(Some(Self {
            groups: system::groups_of(&name, gid)?,
            user: found.name,
            group: group_name,
            uid: found.uid,
            gid,
        }))
    }

    /// That of this process. A user or group without a name is called by its number.
    #[must_use]
    pub fn own() -> Self {
        let (uid, gid) = (Uid::effective(), Gid::effective());
        let user = User::from_uid(uid).ok().flatten();
        let group = Group::from_gid(gid).ok().flatten();
        let mut groups = system::own_groups().unwrap_or_default();
        groups.push(gid);
        Self {
            user: user.map_or_else(|| uid.to_string(), |user| user.name),
            group: group.map_or_else(|| gid.to_string(), |group| group.name),
            uid,
            gid,
            groups,
        }
    }

    /// The user's name.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The group's name, or its number when it has none.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    /// The user's number.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid.as_raw()
    }

    /// The group's number.
    #[must_use]
    pub fn gid(&self) -> u32 {
        self.gid.as_raw()
    }

    /// Whether the user is in the group of that number.
    #[must_use]
    pub fn is_in(&self, gid: u32) -> bool {
        self.groups.iter().any(|group| group.as_raw() == gid)
    }

    /// Does something with the rights of this identity, then goes back to those of before.
    ///
    /// # Errors
    /// The process may not take on the identity, or cannot go back; then it must end.
    pub fn act<T>(&self, action: impl FnOnce() -> T) -> io::Result<T> {
        let before = Self {
            user: String::new(),
            group: String::new(),
            uid: Uid::effective(),
            gid: Gid::effective(),
            groups: system::own_groups()?,
        };
        // Groups first: without root's rights they cannot be changed any more.
        self.enter_groups()?;
        nix::unistd::seteuid(self.uid)?;
        let done = action();
        nix::unistd::seteuid(before.uid)?;
        before.enter_groups()?;
        Ok(done)
    }

    fn enter_groups(&self) -> io::Result<()> {
        system::set_groups(&self.groups)?;
        Ok(nix::unistd::setegid(self.gid)?)
    }

    /// Takes on the identity for good.
    ///
    /// # Errors
    /// The process may not, or could go back.
    pub fn assume(&self) -> io::Result<()> {
        system::set_groups(&self.groups)?;
        nix::unistd::setgid(self.gid)?;
        nix::unistd::setuid(self.uid)?;
        if !self.uid.is_root() && nix::unistd::setuid(Uid::from_raw(0)).is_ok() {
            return Err(io::Error::other("the rights of root cannot be given up"));
        }
        Ok(())
    }
}

#[cfg(not(target_vendor = "apple"))]
mod system {
    use std::ffi::CStr;
    use std::io;

    use nix::unistd::{self, Gid};

    pub(super) fn groups_of(user: &CStr, gid: Gid) -> io::Result<Vec<Gid>> {
        Ok(unistd::getgrouplist(user, gid)?)
    }

    pub(super) fn own_groups() -> io::Result<Vec<Gid>> {
        Ok(unistd::getgroups()?)
    }

    pub(super) fn set_groups(groups: &[Gid]) -> io::Result<()> {
        Ok(unistd::setgroups(groups)?)
    }
}

/// These systems keep supplementary groups outside of the process.
#[cfg(target_vendor = "apple")]
mod system {
    use std::ffi::CStr;
    use std::io;

    use nix::unistd::Gid;

    pub(super) fn groups_of(_: &CStr, _: Gid) -> io::Result<Vec<Gid>> {
        let text = "user and group cannot be changed on this system";
        Err(io::Error::new(io::ErrorKind::Unsupported, text))
    }

    pub(super) fn own_groups() -> io::Result<Vec<Gid>> {
        Ok(Vec::new())
    }

    pub(super) fn set_groups(_: &[Gid]) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_are_told_apart() {
        assert_eq!(Identity::find(None, None).unwrap(), None);
        let unknown = Some("no-such-name");
        let error = Identity::find(unknown, None).unwrap_err();
        assert!(matches!(error, IdentityError::UnknownUser), "{error}");
        let error = Identity::find(None, unknown).unwrap_err();
        assert!(matches!(error, IdentityError::UnknownGroup), "{error}");
        let error = Identity::find(Some("nul\0inside"), None).unwrap_err();
        assert!(matches!(
            error,
            IdentityError::UnknownUser | IdentityError::System(_)
        ));
    }

    #[test]
    fn another_user_is_for_root_alone() {
        let own = Identity::own();
        assert_eq!(Identity::find(Some(own.user()), None).unwrap(), None);
        let is_root = Uid::effective().is_root();
        let name = if is_root { "nobody" } else { "root" };
        match Identity::find(Some(name), None) {
            Ok(Some(other)) => {
                assert!(is_root && other.is_in(other.gid()));
                assert_eq!(other.user(), name);
                let acted = other.act(|| Uid::effective().as_raw()).unwrap();
                assert_eq!(acted, other.uid());
                assert_eq!(Identity::own(), own);
            }
            Ok(None) => panic!("{name} is not this process"),
            Err(IdentityError::UserNotOwn) => assert!(!is_root),
            // A machine without such a user.
            Err(error) => assert!(matches!(error, IdentityError::UnknownUser), "{error}"),
        }
    }
}
