//! Purposes: what a file is for, and what each purpose accepts.

use std::{collections::BTreeMap, time::Duration};

use crate::error::FieldError;

/// The purposes of a deployment that configures none.
pub const DEFAULT_PURPOSES: [&str; 10] = [
    "assistants",
    "assistants_output",
    "batch",
    "batch_output",
    "evals",
    "fine-tune",
    "fine-tune-results",
    "training",
    "user_data",
    "vision",
];

/// A purpose this deployment knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Purpose(String);

impl Purpose {
    /// A purpose read back from where an accepted one was stored.
    pub fn stored(text: String) -> Self {
        Self(text)
    }

    /// The purpose as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What one purpose accepts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PurposePolicy {
    /// The accepted MIME types; empty: all.
    pub mime_types: Vec<String>,
    /// Most bytes in one file; `None`: the deployment's limit.
    pub file_bytes_max: Option<u64>,
    /// Life of a file whose upload names none; `None`: for ever.
    pub default_ttl: Option<Duration>,
    /// How long a deleted file can be undeleted; `None`: as long as the deployment says.
    pub grace: Option<Duration>,
}

/// The purposes of a deployment, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purposes(BTreeMap<String, PurposePolicy>);

impl Purposes {
    /// Exactly these purposes.
    pub fn new(policies: BTreeMap<String, PurposePolicy>) -> Self {
        Self(policies)
    }

    /// Reads a purpose; one that is not configured is refused, naming those that are.
    pub fn parse(&self, text: &str) -> Result<(Purpose, &PurposePolicy), FieldError> {
        match self.get(text) {
            Some(policy) => Ok((Purpose(text.to_owned()), policy)),
            None => {
                let known: Vec<&str> = self.0.keys().map(String::as_str).collect();
                let problem = format!("must be one of {}", known.join(", "));
                Err(FieldError::new("purpose", problem))
            }
        }
    }

    /// The policy of a purpose that is configured.
    pub fn get(&self, purpose: &str) -> Option<&PurposePolicy> {
        self.0.get(purpose)
    }

    /// Every purpose with its policy, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &PurposePolicy)> {
        self.0.iter().map(|(name, policy)| (name.as_str(), policy))
    }
}

impl Default for Purposes {
    fn default() -> Self {
        let policy = |name: &str| (name.to_owned(), PurposePolicy::default());
        Self(DEFAULT_PURPOSES.into_iter().map(policy).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_purpose_is_refused_by_naming_the_known() {
        let purposes = Purposes::default();
        assert!(purposes.parse("assistants").is_ok());
        let error = purposes.parse("Assistants").expect_err("case counts");
        assert_eq!(error.field, "purpose");
        assert!(error.problem.contains("fine-tune-results"));
    }
}
