//! What went wrong at the store, in the terms of storage.

use std::{error::Error as StdError, fmt};

use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};

use crate::storage::StorageError;

/// What the store answered instead of doing what it was asked.
#[derive(Debug)]
pub(super) struct Refusal {
    status: u16,
    code: String,
    message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "the store answered {}", self.status)?;
        for text in [&self.code, &self.message].into_iter().filter(|text| !text.is_empty()) {
            write!(out, ", {text}")?;
        }
        Ok(())
    }
}

impl StdError for Refusal {}

/// A request that failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// What was answered, where anything was.
    refusal: Option<Refusal>,
    /// What was not even answered.
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Failure {
    /// The same from the client's error.
    pub(super) fn of<E>(error: SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        let SdkError::ServiceError(answer) = &error else {
            return Self { refusal: None, source: Some(error.into()) };
        };
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let refusal = Refusal {
            status: HttpResponse::status(answer.raw()).as_u16(),
            code: text(answer.err().code()),
            message: text(answer.err().message()),
        };
        Self { refusal: Some(refusal), source: None }
    }

    /// A good answer that says too little to be believed.
    pub(super) fn unbelievable(problem: &'static str) -> Self {
        Self { refusal: None, source: Some(problem.into()) }
    }

    fn status(&self) -> u16 {
        self.refusal.as_ref().map_or(0, |refusal| refusal.status)
    }

    fn code(&self) -> &str {
        self.refusal.as_ref().map_or("", |refusal| &refusal.code)
    }

    /// Whether the object or upload asked for is not there.
    pub(super) fn is_absence(&self) -> bool {
        self.status() == 404 && self.code() != "NoSuchBucket"
    }

    /// Whether a range starts past the end.
    pub(super) fn is_past_the_end(&self) -> bool {
        self.status() == 416
    }

    /// Whether a condition was refused, not met, or met by another request at the same time.
    pub(super) fn is_about_condition(&self) -> bool {
        matches!(self.status(), 409 | 412 | 501)
    }

    /// The same as an error of storage, met while trying to `action`.
    pub(super) fn into_error(self, action: &'static str) -> StorageError {
        let full = self.status() == 507
            || ["StorageFull", "QuotaExceeded", "InsufficientCapacity"]
                .iter()
                .any(|code| self.code().ends_with(code));
        let source: Box<dyn StdError + Send + Sync> = match (self.refusal, self.source) {
            (Some(refusal), _) => refusal.into(),
            (None, Some(source)) => source,
            (None, None) => "the request failed".into(),
        };
        match full {
            true => StorageError::Full { action, source },
            false => StorageError::Unavailable { action, source },
        }
    }
}

/// Turns a client's error, met while trying to `action`, into one of storage.
pub(super) fn failure<E>(action: &'static str) -> impl FnOnce(SdkError<E>) -> StorageError
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    move |error| Failure::of(error).into_error(action)
}
