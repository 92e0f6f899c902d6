//! Takes settings out of the tree one by one and keeps the mistakes: what nobody takes is unknown.

use std::fmt;

use secrecy::SecretString;

use super::{
    setting::Setting,
    sources::{Origin, Raw, Sources, Values},
};

/// Every section there is.
const SECTIONS: [&str; 21] = [
    "auth",
    "database",
    "deletion",
    "downloads",
    "grpc",
    "http",
    "links",
    "log",
    "metrics",
    "purposes",
    "quotas",
    "quotas.users",
    "scrub",
    "shutdown",
    "signing",
    "storage",
    "storage.s3",
    "storage.smb",
    "sweep",
    "types",
    "uploads",
];

/// One setting as it is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownSetting {
    /// Its dotted name.
    pub key: String,
    /// Its value; secrets are redacted.
    pub value: String,
    /// Where it came from.
    pub origin: String,
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigMistakes(Vec<String>);

impl fmt::Display for ConfigMistakes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "the configuration has {} mistake(s):", self.0.len())?;
        self.0.iter().try_for_each(|mistake| write!(out, "\n  {mistake}"))
    }
}

pub(super) struct Reader {
    values: Values,
    mistakes: Vec<String>,
    shown: Vec<ShownSetting>,
}

impl Reader {
    pub(super) fn new(sources: Sources) -> Result<Self, ConfigMistakes> {
        Ok(Self {
            values: sources.flatten().map_err(|mistake| ConfigMistakes(vec![mistake]))?,
            mistakes: Vec::new(),
            shown: Vec::new(),
        })
    }

    /// The setting `key`, or `default` where it is not set; a mistake in it is kept.
    pub(super) fn take<T: Setting>(&mut self, key: &str, default: T) -> T {
        match self.take_text(key) {
            None => {
                self.show(key, default.show(), &Origin::Default);
                default
            }
            Some((text, origin)) => self.parse(key, &text, &origin).unwrap_or(default),
        }
    }

    /// The setting `key` where it is set.
    pub(super) fn take_optional<T: Setting>(&mut self, key: &str) -> Option<T> {
        let (text, origin) = self.take_text(key)?;
        self.parse(key, &text, &origin)
    }

    /// The list `key`; empty where it is not set. A variable holds the items with commas in between.
    pub(super) fn take_list<T: Setting>(&mut self, key: &str) -> Vec<T> {
        let Some((items, origin)) = self.take_items(key) else {
            return Vec::new();
        };
        let parse = |item: &String| self.parse(key, item, &origin);
        items.iter().filter_map(parse).collect()
    }

    /// The list of secrets `key`: like a list, but never shown.
    pub(super) fn take_secrets(&mut self, key: &str) -> Vec<SecretString> {
        let Some((items, origin)) = self.take_items(key) else {
            return Vec::new();
        };
        self.show(key, format!("<{} redacted>", items.len()), &origin);
        items.into_iter().map(SecretString::from).collect()
    }

    /// The secret `key` where it is set; never shown.
    pub(super) fn take_secret(&mut self, key: &str) -> Option<SecretString> {
        let (text, origin) = self.take_text(key)?;
        self.show(key, "<redacted>".to_owned(), &origin);
        Some(text.into())
    }

    /// Every text directly in the section `name`, by its name there.
    pub(super) fn take_section(&mut self, name: &str) -> Vec<(String, String)> {
        let prefix = format!("{name}.");
        let keys: Vec<String> =
            self.values.keys().filter(|key| key.starts_with(&prefix)).cloned().collect();
        let mut texts = Vec::new();
        for key in keys {
            if let Some((text, origin)) = self.take_text(&key) {
                self.show(&key, text.clone(), &origin);
                texts.push((key.trim_start_matches(&prefix).to_owned(), text));
            }
        }
        texts
    }

    /// The names of the sections directly below the section `name`.
    pub(super) fn subsections(&mut self, name: &str) -> Vec<String> {
        let prefix = format!("{name}.");
        let mut names: Vec<String> = self
            .values
            .iter()
            .filter_map(|(key, (raw, _))| {
                let rest = key.strip_prefix(&prefix)?;
                match raw {
                    Raw::Section => Some(rest),
                    _ => rest.rsplit_once('.').map(|(name, _)| name),
                }
            })
            .map(str::to_owned)
            .collect();
        names.dedup();
        for name in &names {
            self.values.remove(&format!("{prefix}{name}"));
        }
        names
    }

    /// Keeps a mistake in the setting `key`.
    pub(super) fn refuse(&mut self, key: &str, problem: impl fmt::Display) {
        self.mistakes.push(format!("{key}: {problem}"));
    }

    /// Every setting as it is in force, or every mistake.
    pub(super) fn finish(mut self) -> Result<Vec<ShownSetting>, ConfigMistakes> {
        for (key, (raw, origin)) in &self.values {
            // A section whose settings are all commented out sets nothing.
            if *raw == Raw::Section && SECTIONS.contains(&key.as_str()) {
                continue;
            }
            self.mistakes.push(format!("{key} ({origin}): is not a setting"));
        }
        if !self.mistakes.is_empty() {
            return Err(ConfigMistakes(self.mistakes));
        }
        self.shown.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(self.shown)
    }

    fn parse<T: Setting>(&mut self, key: &str, text: &str, origin: &Origin) -> Option<T> {
        match T::parse(text) {
            Ok(value) => {
                self.show(key, value.show(), origin);
                Some(value)
            }
            Err(wanted) => {
                self.mistakes.push(format!("{key} ({origin}): {wanted}"));
                None
            }
        }
    }

    fn take_text(&mut self, key: &str) -> Option<(String, Origin)> {
        match self.values.remove(key)? {
            (Raw::Text(text), origin) => Some((text, origin)),
            (Raw::List(_) | Raw::Section, origin) => {
                self.mistakes.push(format!("{key} ({origin}): must be a single value"));
                None
            }
        }
    }

    fn take_items(&mut self, key: &str) -> Option<(Vec<String>, Origin)> {
        match self.values.remove(key)? {
            (Raw::List(items), origin) => Some((items, origin)),
            (Raw::Text(text), origin) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Some((items.map(str::to_owned).collect(), origin))
            }
            (Raw::Section, origin) => {
                self.mistakes.push(format!("{key} ({origin}): must be a list"));
                None
            }
        }
    }

    fn show(&mut self, key: &str, value: String, origin: &Origin) {
        self.shown.push(ShownSetting { key: key.to_owned(), value, origin: origin.to_string() });
    }
}
