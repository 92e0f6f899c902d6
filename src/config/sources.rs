//! Where settings come from, flattened to one value a name.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use toml::{Table, Value};

/// What every variable of ours begins with; two underscores part the levels of the tree.
const VARIABLE_PREFIX: &str = "FILES__";

/// The places settings are read from, each winning over the one before.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// A TOML file: its path, for messages, and its text.
    pub file: Option<(PathBuf, String)>,
    /// Environment variables; those that do not begin with `FILES__` are passed over.
    pub variables: Vec<(String, String)>,
    /// Settings given as flags: the setting's name, the flag and its value.
    pub flags: Vec<(&'static str, &'static str, String)>,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Default,
    File(PathBuf),
    Variable(String),
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => out.write_str("default"),
            Self::File(path) => write!(out, "{}", path.display()),
            Self::Variable(name) => out.write_str(name),
            Self::Flag(flag) => out.write_str(flag),
        }
    }
}

/// A value as text, or a list of texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Raw {
    Text(String),
    List(Vec<String>),
    /// A section that is there and sets nothing.
    Section,
}

pub(super) type Values = BTreeMap<String, (Raw, Origin)>;

impl Sources {
    /// Every value by its dotted name; the error says what is wrong with the file as TOML.
    pub(super) fn flatten(self) -> Result<Values, String> {
        let mut values = Values::new();
        if let Some((path, text)) = self.file {
            let table: Table =
                text.parse().map_err(|error| format!("{}: {error}", path.display()))?;
            flatten_table("", &table, &Origin::File(path), &mut values);
        }
        for (name, value) in self.variables {
            if let Some(key) = name.strip_prefix(VARIABLE_PREFIX) {
                let key = key.to_lowercase().replace("__", ".");
                values.insert(key, (Raw::Text(value), Origin::Variable(name)));
            }
        }
        for (key, flag, value) in self.flags {
            values.insert(key.to_owned(), (Raw::Text(value), Origin::Flag(flag)));
        }
        Ok(values)
    }
}

fn flatten_table(prefix: &str, table: &Table, origin: &Origin, values: &mut Values) {
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        let raw = match value {
            Value::Table(inner) if !inner.is_empty() => {
                flatten_table(&format!("{key}."), inner, origin, values);
                continue;
            }
            Value::Table(_) => Raw::Section,
            Value::Array(items) => Raw::List(items.iter().map(text).collect()),
            scalar => Raw::Text(text(scalar)),
        };
        values.insert(key, (raw, origin.clone()));
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
