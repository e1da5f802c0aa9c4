//! `tollgate.secrets`: values for `secret(name)` of scripts, from files, the environment or systemd. No message and no
//! log has a value.

use std::path::{Path, PathBuf};

use super::files::{self, Base};
use super::keys::form::Absent::Means;
use super::keys::form::{Flag, Raw};
use super::keys::keys;
use super::reader::Item;
use crate::script::{SecretText, Secrets};

/// The most secrets of a configuration.
const MAX_SECRETS: usize = 256;

const MAX_NAME: usize = 64;

/// Where systemd puts the files of `LoadCredential=`.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

keys! {
    /// Where one secret is, in one of the first three keys.
    pub(super) struct Keys<'d> {
        /// A file with the secret alone, one line of up to 4096 bytes; a line end behind it is removed.
        file: Option<Item<'d>> = Means("none"), Raw => Shape::path();
        /// The name of a variable of the environment. It keeps its value until the process ends.
        env: Option<Item<'d>> = Means("none"), Raw => Shape::text("a name");
        /// The name of a credential of systemd (`LoadCredential=`): a file in `$CREDENTIALS_DIRECTORY`.
        credential: Option<Item<'d>> = Means("none"), Raw => Shape::text("a name");
        /// Whether a script may send it over http, where others can read it. Without it, a script sends it over https and
        /// to the pools of the gateway alone. Rules always send secrets over https.
        clear_text: bool = false, Flag;
    }
}

/// The files that secrets name.
pub(super) fn files<'d>(item: Option<&Item<'d>>) -> Vec<Item<'d>> {
    let entries = item.filter(|item| item.is_map()).and_then(Item::entries);
    let entries = entries.unwrap_or_default().into_iter();
    let maps = entries.filter(|(_, item)| item.is_map());
    maps.filter_map(|(_, item)| item.section().item("file"))
        .collect()
}

/// Reads the secrets. One that cannot be read is reported, so that the configuration is not used; a placeholder stands
/// for it, so that what names it is not reported as well.
pub(super) fn read(item: Option<&Item<'_>>, base: &Base) -> Secrets {
    let entries = item.and_then(Item::entries).unwrap_or_default();
    if let Some((_, item)) = entries.get(MAX_SECRETS) {
        item.report("too many secrets", format!("keep {MAX_SECRETS}"));
    }
    let mut secrets = Vec::new();
    for (name, item) in entries.into_iter().take(MAX_SECRETS) {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(is_part) {
            let remedy = format!("write up to {MAX_NAME} letters, digits, - and _");
            item.report("not the name of a secret", remedy);
        } else {
            let unknown = || SecretText::placeholder().with_clear_text(true);
            let secret = read_one(&item, base).unwrap_or_else(unknown);
            secrets.push((name.into(), secret));
        }
    }
    secrets.into_iter().collect()
}

fn read_one(item: &Item<'_>, base: &Base) -> Option<SecretText> {
    if item.written().is_some() {
        // Most likely the secret itself, which is then in a file that is shown around.
        let remedy =
            "write where it is: `{ file: PATH }`, `{ env: NAME }` or `{ credential: NAME }`";
        item.report("a value, where a secret is only named", remedy);
        return None;
    }
    let mut section = item.section();
    let keys = Keys::take(&mut section);
    let given = [&keys.file, &keys.env, &keys.credential];
    if given.into_iter().flatten().count() > 1 {
        section.report(
            "file",
            "more than one place",
            "keep one of file, env and credential",
        );
        section.finish();
        return None;
    }
    let secret = if let Some(item) = &keys.file {
        item.file(&base.directory)
            .and_then(|path| from_file(item, &path, base))
    } else if let Some(item) = &keys.env {
        from_environment(item)
    } else if let Some(item) = &keys.credential {
        from_systemd(item, base)
    } else {
        let remedy = "write `file: PATH`, `env: NAME` or `credential: NAME`";
        section.report("file", "missing: the secret is nowhere", remedy);
        None
    };
    section.finish();
    secret.map(|secret| secret.with_clear_text(keys.clear_text))
}

/// The secret in a file.
pub(super) fn from_file(item: &Item<'_>, path: &Path, base: &Base) -> Option<SecretText> {
    let shown = base.show(path);
    // With a line end, and one byte to see that it is too long.
    let limit = u64::try_from(SecretText::MAX + 3).unwrap_or(u64::MAX);
    let bytes = match files::read(path, limit) {
        Ok(bytes) => zeroize::Zeroizing::new(bytes),
        Err(error) => {
            let missing = "make it, with the secret alone in it";
            files::report(item, &shown, &error, missing);
            return None;
        }
    };
    let secret = checked(item, &bytes, &files::speak(&shown))?;
    if files::is_world_readable(path) {
        let message = format!(
            "every user of this machine can read {}",
            files::speak(&shown)
        );
        item.warn(message, format!("run `chmod o-r {}`", files::speak(&shown)));
    }
    Some(secret)
}

fn from_environment(item: &Item<'_>) -> Option<SecretText> {
    let name = item.text()?;
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    // Another text may be the secret itself.
    if !name.bytes().all(is_part) || name.len() > 256 {
        item.report("not the name of a variable", "write letters, digits and _");
        return None;
    }
    let Some(value) = std::env::var_os(name) else {
        let remedy = "set it where the process is started, or name a file";
        item.report(format!("the environment has no {name}"), remedy);
        return None;
    };
    let value = zeroize::Zeroizing::new(value.into_encoded_bytes());
    checked(item, &value, &format!("the variable {name}"))
}

fn from_systemd(item: &Item<'_>, base: &Base) -> Option<SecretText> {
    let name = item.text()?;
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !name.bytes().all(is_part) || name.starts_with('.') || name.len() > 255 {
        item.report(
            "not the name of a credential",
            "write letters, digits, -, _ and .",
        );
        return None;
    }
    let Some(directory) = std::env::var_os(CREDENTIALS).filter(|path| !path.is_empty()) else {
        let remedy = format!("add `LoadCredential={name}:PATH` to the unit, or name a file");
        item.report(
            format!("{CREDENTIALS} is not set: systemd gave no credentials"),
            remedy,
        );
        return None;
    };
    from_file(item, &PathBuf::from(directory).join(name), base)
}

fn checked(item: &Item<'_>, bytes: &[u8], place: &str) -> Option<SecretText> {
    match SecretText::parse(bytes) {
        Ok(secret) => {
            item.note_content(secret.digest());
            if secret.has_margin() {
                let message =
                    format!("{place} has a space or a byte order mark before or behind the secret");
                item.warn(message, "remove it, unless it is a part of the secret");
            }
            Some(secret)
        }
        Err(error) => {
            let remedy = format!(
                "put the secret alone into it, one line of up to {} bytes",
                SecretText::MAX
            );
            item.report(format!("{place} {error}"), remedy);
            None
        }
    }
}
