//! The files that say how to judge: one set of arguments for every command that needs them.
//!
//! In: paths on the command line. Out: a [`Config`] that knows where each setting came from.

use std::path::PathBuf;

use clap::Args;

use crate::config::{Config, ConfigError, Flag};

/// What decides which service a name belongs to.
#[derive(Args, Clone, Debug, Default)]
pub struct CatalogueFiles {
    /// Configuration file.
    #[arg(short, long, value_name = "FILE", env = "SHADOWTAP_CONFIG")]
    pub config: Option<PathBuf>,
    /// Signatures from this folder instead of the built-in ones.
    #[arg(long, value_name = "DIR")]
    pub signatures: Option<PathBuf>,
}

/// What decides how a use is judged.
#[derive(Args, Clone, Debug, Default)]
pub struct Files {
    /// Policy file, instead of the one that the configuration names.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Configuration and signatures.
    #[command(flatten)]
    pub catalogue: CatalogueFiles,
}

impl CatalogueFiles {
    /// The configuration under these files.
    ///
    /// # Errors
    /// If a file cannot be read or says something that it may not.
    pub fn load(self) -> Result<Config, ConfigError> {
        Files { policy: None, catalogue: self }.load()
    }
}

impl Files {
    /// Policy, signatures and more of the command line (name, key, value as typed) as settings,
    /// which go before those of the configuration.
    pub fn flags(&self, more: &[(&str, &str, Option<String>)]) -> Vec<Flag> {
        let path = |path: &PathBuf| path.to_string_lossy().into_owned();
        let files = [
            ("--policy", "policy.file", self.policy.as_ref().map(path)),
            ("--signatures", "signatures.dir", self.catalogue.signatures.as_ref().map(path)),
        ];
        let flag = |(name, key, value): &(&str, &str, Option<String>)| {
            let (name, key) = ((*name).to_owned(), (*key).to_owned());
            value.clone().map(|value| Flag { name, key, value })
        };
        files.iter().chain(more).filter_map(flag).collect()
    }

    /// The configuration under these files.
    ///
    /// # Errors
    /// If a file cannot be read or says something that it may not.
    pub fn load(&self) -> Result<Config, ConfigError> {
        Config::load_with(self.catalogue.config.as_deref(), &self.flags(&[]))
    }
}
