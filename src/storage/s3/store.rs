//! One prefix of one bucket: the names of its objects, and the settings that each of them is made with.

use aws_sdk_s3::{
    Client,
    operation::{
        create_multipart_upload::builders::CreateMultipartUploadFluentBuilder,
        put_object::builders::PutObjectFluentBuilder,
    },
    types::{ChecksumAlgorithm, ServerSideEncryption, StorageClass},
};
use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    headers::StoreClock,
    options::{Checksums, Encryption, S3Options},
};
use crate::blob::BlobKey;

/// The metadata by which a writer knows its own object again.
pub(super) const TOKEN: &str = "files-token";

/// One prefix of one bucket.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) client: Client,
    /// Presigns URLs for readers, who may reach the store under another name.
    pub(super) public: Client,
    pub(super) clock: StoreClock,
    pub(super) options: S3Options,
}

impl Store {
    /// What the names of all blobs begin with.
    pub(super) fn blobs(&self) -> String {
        format!("{}blobs/", self.options.prefix)
    }

    /// The name of a blob's object.
    pub(super) fn object(&self, key: &BlobKey) -> String {
        format!("{}{key}", self.blobs())
    }

    /// The blob of an object; `None` for what is none of ours.
    pub(super) fn blob(&self, object: &str) -> Option<BlobKey> {
        object.strip_prefix(&self.blobs()).and_then(BlobKey::parse)
    }

    /// The name of the object that says whose the blobs are.
    pub(super) fn mark(&self) -> String {
        format!("{}owner", self.options.prefix)
    }

    /// The checksum that goes with `content`, where checksums are sent.
    pub(super) fn crc32(&self, content: &[u8]) -> Option<String> {
        match self.options.checksums {
            Checksums::Crc32 => Some(STANDARD.encode(crc32fast::hash(content).to_be_bytes())),
            Checksums::Signed => None,
        }
    }

    /// A request to put an object as this store keeps them.
    pub(super) fn put(&self, object: String) -> PutObjectFluentBuilder {
        self.client
            .put_object()
            .bucket(&self.options.bucket)
            .key(object)
            .set_server_side_encryption(self.encryption())
            .set_ssekms_key_id(self.kms_key_id())
            .set_storage_class(self.storage_class())
    }

    /// A request to begin an object in parts as this store keeps them.
    pub(super) fn begin(&self, object: String) -> CreateMultipartUploadFluentBuilder {
        let crc32 = self.options.checksums == Checksums::Crc32;
        self.client
            .create_multipart_upload()
            .bucket(&self.options.bucket)
            .key(object)
            .set_checksum_algorithm(crc32.then_some(ChecksumAlgorithm::Crc32))
            .set_server_side_encryption(self.encryption())
            .set_ssekms_key_id(self.kms_key_id())
            .set_storage_class(self.storage_class())
    }

    fn encryption(&self) -> Option<ServerSideEncryption> {
        self.options.encryption.as_ref().map(|encryption| match encryption {
            Encryption::Aes256 => ServerSideEncryption::Aes256,
            Encryption::Kms { .. } => ServerSideEncryption::AwsKms,
        })
    }

    fn kms_key_id(&self) -> Option<String> {
        match &self.options.encryption {
            Some(Encryption::Kms { key_id }) => key_id.clone(),
            _ => None,
        }
    }

    fn storage_class(&self) -> Option<StorageClass> {
        self.options.storage_class.as_deref().map(StorageClass::from)
    }
}
