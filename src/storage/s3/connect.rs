//! Makes the client of one store: credentials, TLS, time limits, retries. Knows no blob.

use std::{fs, io, time::Duration};

use aws_config::Region;
use aws_sdk_s3::{
    Client,
    config::{
        BehaviorVersion, Builder, Credentials, RequestChecksumCalculation,
        ResponseChecksumValidation, SharedCredentialsProvider, SharedHttpClient,
        StalledStreamProtectionConfig, retry::RetryConfig, timeout::TimeoutConfig,
    },
};
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use secrecy::ExposeSecret;
use url::Url;

use super::{
    headers::RetryAfter,
    options::{S3Credentials, S3Options},
};
use crate::storage::{Result, StorageError};

/// Longest to wait for a connection, and for the head of an answer.
const CONNECT_MAX: Duration = Duration::from_secs(3);
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Idle connections are dropped before a balancer in between forgets them.
const IDLE_MAX: Duration = Duration::from_secs(20);
/// A request is sent so often at most.
const ATTEMPTS_MAX: u32 = 4;
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// The behaviour that the SDK's defaults are pinned to.
fn behavior() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

/// The client that the process itself uses, and the one that presigns URLs for readers.
pub(super) async fn clients(options: &S3Options) -> Result<(Client, Client)> {
    let http = http_client(options)?;
    let credentials = credentials(options, &http).await?;
    let client = |endpoint: Option<&Url>| {
        let mut config = Builder::new()
            .behavior_version(behavior())
            .region(Region::new(options.region.clone()))
            .credentials_provider(credentials.clone())
            .http_client(http.clone())
            .force_path_style(options.path_style)
            .retry_config(
                RetryConfig::standard()
                    .with_max_attempts(ATTEMPTS_MAX)
                    .with_initial_backoff(BACKOFF_FIRST)
                    .with_max_backoff(BACKOFF_MAX),
            )
            .interceptor(RetryAfter { wait_max: BACKOFF_MAX })
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(CONNECT_MAX)
                    .read_timeout(ANSWER_MAX)
                    .build(),
            )
            // A reader may take its time; what a store must not, reading watches itself.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            // Stores that are not AWS refuse what the SDK would add by itself.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        config.set_endpoint_url(endpoint.map(|url| url.as_str().trim_end_matches('/').to_owned()));
        Client::from_conf(config.build())
    };
    let public = options.public_endpoint.as_ref().or(options.endpoint.as_ref());
    Ok((client(options.endpoint.as_ref()), client(public)))
}

async fn credentials(
    options: &S3Options,
    http: &SharedHttpClient,
) -> Result<SharedCredentialsProvider> {
    match &options.credentials {
        S3Credentials::Static { access_key_id, secret_access_key, session_token } => {
            let credentials = Credentials::new(
                access_key_id,
                secret_access_key.expose_secret(),
                session_token.as_ref().map(|token| token.expose_secret().to_owned()),
                None,
                "configuration",
            );
            Ok(SharedCredentialsProvider::new(credentials))
        }
        S3Credentials::Ambient { profile } => {
            let mut surroundings = aws_config::defaults(behavior())
                .region(Region::new(options.region.clone()))
                .http_client(http.clone());
            if let Some(profile) = profile {
                surroundings = surroundings.profile_name(profile);
            }
            let found = surroundings.load().await.credentials_provider();
            found.ok_or_else(|| StorageError::Unavailable {
                action: "find credentials for the bucket",
                source: "the surroundings give none".into(),
            })
        }
    }
}

fn http_client(options: &S3Options) -> Result<SharedHttpClient> {
    let failure = |source: Box<dyn std::error::Error + Send + Sync>| StorageError::Unavailable {
        action: "read the certificates to trust (storage.s3.ca_file)",
        source,
    };
    let mut trusted = TrustStore::default();
    if let Some(path) = &options.ca_file {
        let pem = fs::read(path).map_err(|error| failure(error.into()))?;
        if !pem.windows(BEGIN.len()).any(|window| window == BEGIN) {
            let error = io::Error::new(io::ErrorKind::InvalidData, "it holds no certificate");
            return Err(failure(error.into()));
        }
        trusted = trusted.with_pem_certificate(pem);
    }
    let tls = TlsContext::builder().with_trust_store(trusted).build();
    let tls = tls.map_err(|error| failure(error.into()))?;
    Ok(aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(tls)
        .pool_idle_timeout(IDLE_MAX)
        .build_https())
}

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
