//! A PEM file that the configuration names, with the places to report on.

use std::borrow::Cow;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::super::files::{self, Base};
use super::super::pem::{self, Block, Label, der};
use super::super::reader::Item;

/// A chain has a few kilobytes, a bundle of roots a few hundred.
const MAX_PEM: u64 = 4 << 20;

/// A revocation list of a large authority.
const MAX_LISTS: u64 = 64 << 20;

/// A file of blocks; at least one.
pub(super) struct PemFile<'i, 'd> {
    item: &'i Item<'d>,
    pub(super) path: PathBuf,
    /// As the user would write it.
    shown: PathBuf,
    pub(super) bytes: Vec<u8>,
    pub(super) blocks: Vec<Block>,
}

impl<'i, 'd> PemFile<'i, 'd> {
    /// Reads the file that `item` names, or reports why not.
    pub(super) fn read(item: &'i Item<'d>, base: &Base) -> Option<PemFile<'i, 'd>> {
        Self::read_up_to(MAX_PEM, item, base, false)
    }

    /// Reads a file of revocation lists, which may be one in DER: authorities publish them so.
    pub(super) fn read_lists(item: &'i Item<'d>, base: &Base) -> Option<PemFile<'i, 'd>> {
        Self::read_up_to(MAX_LISTS, item, base, true)
    }

    fn read_up_to(
        limit: u64,
        item: &'i Item<'d>,
        base: &Base,
        may_be_der: bool,
    ) -> Option<PemFile<'i, 'd>> {
        let path = item.file(&base.directory)?;
        let shown = base.show(&path);
        let bytes = match files::read(&path, limit) {
            Ok(bytes) => bytes,
            Err(error) => {
                let missing = "name a PEM file, relative to this file";
                files::report(item, &shown, &error, missing);
                return None;
            }
        };
        let mut file = PemFile {
            item,
            path,
            shown,
            bytes,
            blocks: Vec::new(),
        };
        if may_be_der && file.bytes.first() == Some(&der::SEQUENCE) {
            file.blocks.push(Block {
                line: 1,
                label: Label::RevocationList,
                content: Zeroizing::new(std::mem::take(&mut file.bytes)),
                is_encrypted: false,
            });
            return Some(file);
        }
        match pem::parse(&file.bytes) {
            Ok(blocks) if !blocks.is_empty() => {
                file.blocks = blocks;
                Some(file)
            }
            Err(error) if !pem::is_other_format(&file.bytes, error) => {
                let remedy = error.problem.remedy(&file.name());
                file.report_at(error.line, error.problem.to_string(), remedy);
                None
            }
            _ => {
                let (problem, remedy) = pem::identify(&file.bytes, &file.name());
                file.report(problem, remedy);
                None
            }
        }
    }

    /// The last part of its path.
    pub(super) fn file_name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// The name of the file for a command.
    pub(super) fn name(&self) -> Cow<'_, str> {
        files::speak(&self.shown)
    }

    /// Whether the two are one file.
    pub(super) fn is_same(&self, other: &PemFile<'_, '_>) -> bool {
        let real = |path: &Path| path.canonicalize().ok();
        self.path == other.path
            || real(&self.path).is_some_and(|path| real(&other.path) == Some(path))
    }

    pub(super) fn has(&self, label: Label) -> bool {
        self.blocks.iter().any(|block| block.label == label)
    }

    pub(super) fn private_keys(&self) -> impl Iterator<Item = &Block> {
        self.blocks
            .iter()
            .filter(|block| block.label.is_private_key())
    }

    /// Reports a problem of the file as a whole.
    pub(super) fn report(&self, message: impl Display, remedy: impl Into<String>) {
        self.item
            .report(format!("{} {message}", self.name()), remedy);
    }

    /// Reports a problem on a line of the file.
    pub(super) fn report_at(
        &self,
        line: usize,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.item.report_at(&self.shown, line, message, remedy);
    }

    /// Warns of something on a line of the file.
    pub(super) fn warn_at(
        &self,
        line: usize,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.item.warn_at(&self.shown, line, message, remedy);
    }

    /// Warns when every user of the machine can read the key in the file.
    pub(super) fn warn_if_world_readable(&self) {
        if self.private_keys().next().is_some() && files::is_world_readable(&self.path) {
            let name = self.name();
            let message = format!("every user of this machine can read the private key in {name}");
            self.item.warn(message, format!("run `chmod o-r {name}`"));
        }
    }

    /// Reports a block of a kind that does not belong into the file.
    pub(super) fn report_unexpected(&self, block: &Block) {
        let file = self.name();
        let noun = block.label.noun();
        let (message, remedy) = match block.label {
            Label::TrustedCertificate => (
                format!("{noun}, which is not read"),
                format!("remove them with `openssl x509 -in {file} -out NEWFILE`"),
            ),
            Label::CertificateRequest => (
                format!("{noun}, where a certificate is expected"),
                format!(
                    "send it to an authority, or sign it yourself with \
                     `openssl req -x509 -in {file} -key KEYFILE -days 365 -out NEWFILE`"
                ),
            ),
            Label::RevocationList => (
                format!("{noun}, which is not read"),
                "move it to a file of its own and name that file as `client_crl`, or remove it"
                    .to_owned(),
            ),
            Label::Pkcs7 => (
                format!("{noun}, where PEM certificates are expected"),
                format!("convert them with `openssl pkcs7 -in {file} -print_certs -out NEWFILE`"),
            ),
            Label::PublicKey => (
                format!("{noun}, which is not read"),
                "remove the block, and name the file of the private key as `key`".to_owned(),
            ),
            Label::EcParameters | Label::DhParameters => (
                format!("{noun}, which are not used"),
                "remove the block".to_owned(),
            ),
            label if label.is_private_key() => (
                format!("{noun}, where only certificates are expected"),
                "move it to a file of its own and name that file as `key`, or remove it".to_owned(),
            ),
            Label::Certificate => (
                format!("{noun} beside the private key"),
                "remove it, or name this file as `certificate` too".to_owned(),
            ),
            _ => (
                noun.to_owned(),
                "remove it; read are CERTIFICATE, PRIVATE KEY, RSA PRIVATE KEY and EC PRIVATE KEY"
                    .to_owned(),
            ),
        };
        self.report_at(block.line, message, remedy);
    }
}
