//! Settings that can be read from a text and shown as one.

use std::{net::SocketAddr, path::PathBuf};

use bytesize::ByteSize;
use http::HeaderValue;
use url::Url;

use crate::telemetry::LogFormat;

/// A setting's type.
pub(super) trait Setting: Sized {
    /// Reads it; the error says what is wanted.
    fn parse(text: &str) -> Result<Self, String>;
    /// Shows it as it could be written.
    fn show(&self) -> String;
}

macro_rules! setting_from_str {
    ($($kind:ty => $wanted:literal),+ $(,)?) => {$(
        impl Setting for $kind {
            fn parse(text: &str) -> Result<Self, String> {
                text.parse().map_err(|_| concat!("must be ", $wanted).to_owned())
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )+};
}

setting_from_str! {
    bool => "true or false",
    u32 => "a whole number",
    u64 => "a whole number",
    usize => "a whole number",
    String => "a text",
    SocketAddr => "an address with a port, such as 127.0.0.1:9000",
    Url => "a URL, such as https://files.example.com",
    humantime::Duration => "a time span, such as 90s or 10m",
}

impl Setting for ByteSize {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "must be a size, such as 512 KiB or 5 GiB".to_owned())
    }

    fn show(&self) -> String {
        self.display().iec().to_string()
    }
}

impl Setting for PathBuf {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("must be a path".to_owned());
        }
        Ok(Self::from(text))
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl Setting for HeaderValue {
    fn parse(text: &str) -> Result<Self, String> {
        Self::from_str(text).map_err(|_| "must be visible ASCII characters".to_owned())
    }

    fn show(&self) -> String {
        self.to_str().unwrap_or_default().to_owned()
    }
}

impl Setting for LogFormat {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("must be auto, text or json".to_owned()),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Auto => "auto",
            Self::Text => "text",
            Self::Json => "json",
        }
        .to_owned()
    }
}
