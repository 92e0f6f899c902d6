//! The messages that requests are made of, as MS-SMB2 and MS-FSCC lay them out. Knows no server.

use smb2::{
    msg::{
        create::{CreateDisposition, CreateRequest, ImpersonationLevel, ShareAccess},
        query_info::InfoType,
        read::ReadRequest,
        set_info::SetInfoRequest,
    },
    types::{
        CreditCharge, FileId, OplockLevel,
        flags::{FileAccessMask, FileAttributes},
    },
};

pub(super) const DIRECTORY: u32 = 0x0000_0001;
pub(super) const NO_DIRECTORY: u32 = 0x0000_0040;
pub(super) const DELETE_ON_CLOSE: u32 = 0x0000_1000;
const RENAME_INFORMATION: u8 = 10;
const DISPOSITION_INFORMATION: u8 = 13;
const END_OF_FILE_INFORMATION: u8 = 20;
const CREDIT_BYTES: usize = 64 * 1024;

const SHARE_READ: u32 = ShareAccess::FILE_SHARE_READ;
pub(super) const SHARE_DELETE: u32 = ShareAccess::FILE_SHARE_DELETE;
pub(super) const SHARE_ALL: u32 = SHARE_READ | ShareAccess::FILE_SHARE_WRITE | SHARE_DELETE;

pub(super) fn charge(bytes: usize) -> CreditCharge {
    CreditCharge(u16::try_from(bytes.div_ceil(CREDIT_BYTES).max(1)).unwrap_or(u16::MAX))
}

pub(super) fn create_request(
    path: &str,
    access: u32,
    share: u32,
    create_disposition: CreateDisposition,
    create_options: u32,
) -> CreateRequest {
    let is_directory = create_options & DIRECTORY != 0;
    CreateRequest {
        requested_oplock_level: OplockLevel::None,
        impersonation_level: ImpersonationLevel::Impersonation,
        desired_access: FileAccessMask::new(access | FileAccessMask::SYNCHRONIZE),
        file_attributes: if is_directory {
            FileAttributes::DIRECTORY
        } else {
            FileAttributes::NORMAL
        },
        share_access: ShareAccess(share),
        create_disposition,
        create_options,
        name: smb2::encode_path(path),
        create_contexts: Vec::new(),
    }
}

pub(super) fn read_request(file_id: FileId, offset: u64, len: usize) -> ReadRequest {
    ReadRequest {
        padding: 0x50,
        flags: 0,
        length: u32::try_from(len).unwrap_or(u32::MAX),
        offset,
        file_id,
        minimum_count: 0,
        channel: 0,
        remaining_bytes: 0,
        read_channel_info: Vec::new(),
    }
}

/// FILE_RENAME_INFORMATION that replaces nothing (MS-FSCC 2.4.42).
pub(super) fn rename_request(file_id: FileId, path: &str) -> SetInfoRequest {
    let name: Vec<u8> = smb2::encode_path(path).encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut buffer = vec![0; 16];
    buffer.extend_from_slice(&u32::try_from(name.len()).unwrap_or(u32::MAX).to_le_bytes());
    buffer.extend_from_slice(&name);
    set_info_request(file_id, RENAME_INFORMATION, buffer)
}

/// FILE_DISPOSITION_INFORMATION (MS-FSCC 2.4.11).
pub(super) fn remove_request(file_id: FileId) -> SetInfoRequest {
    set_info_request(file_id, DISPOSITION_INFORMATION, vec![1])
}

/// FILE_END_OF_FILE_INFORMATION (MS-FSCC 2.4.14).
pub(super) fn truncate_request(file_id: FileId, size_bytes: u64) -> SetInfoRequest {
    set_info_request(file_id, END_OF_FILE_INFORMATION, size_bytes.to_le_bytes().to_vec())
}

fn set_info_request(file_id: FileId, file_info_class: u8, buffer: Vec<u8>) -> SetInfoRequest {
    SetInfoRequest {
        info_type: InfoType::File,
        file_info_class,
        additional_information: 0,
        file_id,
        buffer,
    }
}
