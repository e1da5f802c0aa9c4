//! The directory of the default paths, which the process makes when it starts.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, fchown};

use rustix::fs::OFlags;

use super::Config;

impl Config {
    /// Makes the directory of the default `pid_file` and `upgrade_sock`, for the user that serves alone.
    ///
    /// Does nothing when both are configured: their directories were checked.
    ///
    /// # Errors
    /// The directory is not there and cannot be made.
    pub fn create_run_directory(&self) -> io::Result<()> {
        let Some(directory) = &self.run_directory else {
            return Ok(());
        };
        if let Some(parent) = directory.parent() {
            DirBuilder::new().recursive(true).create(parent)?;
        }
        match DirBuilder::new().mode(0o700).create(directory) {
            Ok(()) => {}
            Err(_) if directory.is_dir() => return Ok(()),
            Err(error) => return Err(error),
        }
        if let Some(identity) = &self.identity {
            // By its descriptor: what was made is what is given away.
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
            let made = File::options()
                .read(true)
                .custom_flags(flags.bits().cast_signed())
                .open(directory)?;
            fchown(made, Some(identity.uid()), Some(identity.gid()))?;
        }
        Ok(())
    }
}
