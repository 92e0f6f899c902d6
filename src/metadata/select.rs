//! The statement of a listing, the same for both databases but for how they write a parameter. Every single
//! condition is answered from an index that has the listing's order, so that a page costs the same however
//! many files there are; further conditions only sort out.

use super::{
    ListQuery, MediaTypePattern,
    listing::{FileFilter, ListPosition},
};
use crate::clock::Timestamp;

/// The columns of a record but its references, in the order in which both databases' rows are read. The
/// table's alias is `f`.
pub(super) const RECORD: &str = "f.file_id, f.user_id, f.purpose, f.filename, f.mime_type, f.labels, \
     f.blob_key, f.size_bytes, f.sha256, f.create_time_us, f.update_time_us, f.expire_time_us, f.revision, \
     f.link_epoch, f.delete_time_us, f.purge_time_us, f.delete_when_unreferenced, f.quarantined";

/// Makes a statement in whose text RECORD stands for a record's columns, as the `record` beside it names them.
macro_rules! with_record {
    ($(#[$doc:meta])* $name:ident, $format:expr) => {
        $(#[$doc])*
        pub(super) fn $name() -> &'static str {
            static TEXT: std::sync::LazyLock<String> =
                std::sync::LazyLock::new(|| $format.replace("RECORD", record()));
            &TEXT
        }
    };
}
pub(super) use with_record;

/// The order of a listing: by create time (column 10) and file id (column 1).
const ORDER_OF_UNION: &str = "ORDER BY 10 DESC, 1 DESC";

/// A parameter's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Number(i64),
    Bytes(Vec<u8>),
}

/// How a database is to be asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialect {
    /// What stands before a parameter's number.
    pub(super) parameter: char,
    /// The function that finds a text within another one.
    pub(super) position: &'static str,
    /// The columns of a record, references included.
    pub(super) columns: fn() -> &'static str,
}

/// The statement with its parameters, in order.
#[derive(Debug)]
pub(super) struct Select {
    pub(super) sql: String,
    pub(super) values: Vec<Value>,
    dialect: Dialect,
}

/// What finds the candidates, in order; everything else in the filter only sorts them out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Driver<'a> {
    User,
    Sha256,
    Reference,
    Label(&'a str, &'a str),
    Purpose(&'a str),
    MediaType(&'a MediaTypePattern),
}

impl<'a> Driver<'a> {
    /// The conditions that select the fewest files come first. A list gets one driver for each entry.
    fn choose(filter: &'a FileFilter) -> Vec<Self> {
        if filter.sha256.is_some() {
            vec![Self::Sha256]
        } else if filter.reference.is_some() {
            vec![Self::Reference]
        } else if let Some((key, value)) = filter.labels.iter().next() {
            vec![Self::Label(key, value)]
        } else if !filter.purposes.is_empty() {
            filter.purposes.iter().map(|purpose| Self::Purpose(purpose)).collect()
        } else if !filter.media_types.is_empty() {
            filter.media_types.iter().map(Self::MediaType).collect()
        } else {
            vec![Self::User]
        }
    }

    /// The table whose order counts: references and labels carry their file's time and id.
    const fn alias(self) -> &'static str {
        match self {
            Self::Reference | Self::Label(..) => "t",
            Self::User | Self::Sha256 | Self::Purpose(_) | Self::MediaType(_) => "f",
        }
    }
}

impl Select {
    /// The page that `query` asks for, as things stand at `now`.
    pub(super) fn page(query: &ListQuery, now: Timestamp, dialect: Dialect) -> Self {
        let mut select = Self { sql: String::new(), values: Vec::new(), dialect };
        let limit = select.number(i64::try_from(query.limit).unwrap_or(i64::MAX));
        let drivers = Driver::choose(&query.filter);
        let mut branches: Vec<String> =
            drivers.iter().map(|driver| select.branch(query, *driver, now, &limit)).collect();
        if query.show_deleted {
            branches.push(select.deleted(query, now, &limit));
        }
        select.sql = match branches.as_slice() {
            [only] => only.clone(),
            _ => {
                let parts: Vec<String> = branches
                    .iter()
                    .enumerate()
                    .map(|(at, branch)| format!("SELECT * FROM ({branch}) AS b{at}"))
                    .collect();
                format!("{} {ORDER_OF_UNION} LIMIT {limit}", parts.join(" UNION ALL "))
            }
        };
        select
    }

    /// The visible files that one driver finds.
    fn branch(
        &mut self,
        query: &ListQuery,
        driver: Driver<'_>,
        now: Timestamp,
        limit: &str,
    ) -> String {
        let alias = driver.alias();
        let user = self.text(query.user_id.as_str());
        let mut conditions = vec![format!("{alias}.user_id = {user}"), "f.state = 1".to_owned()];
        let tables = match driver {
            Driver::User => "files AS f",
            Driver::Sha256 => "files AS f",
            Driver::Purpose(purpose) => {
                conditions.push(format!("f.purpose = {}", self.text(purpose)));
                "files AS f"
            }
            Driver::MediaType(pattern) => {
                conditions.push(self.media_type(pattern));
                "files AS f"
            }
            Driver::Reference => {
                conditions.push("f.file_id = t.file_id".to_owned());
                conditions.extend(query.filter.reference.as_ref().map(|reference| {
                    let kind = self.number(reference.kind().number());
                    let id = self.text(reference.id());
                    format!("t.kind = {kind} AND t.reference_id = {id}")
                }));
                "file_references AS t CROSS JOIN files AS f"
            }
            Driver::Label(key, value) => {
                conditions.push("f.file_id = t.file_id".to_owned());
                let (key, value) = (self.text(key), self.text(value));
                conditions.push(format!("t.key = {key} AND t.value = {value}"));
                "file_labels AS t CROSS JOIN files AS f"
            }
        };
        self.window(query, alias, &mut conditions);
        self.residual(&query.filter, driver, &mut conditions);
        let now = self.number(now.unix_us());
        conditions.push(format!("(f.expire_time_us IS NULL OR f.expire_time_us > {now})"));
        self.statement(tables, alias, &conditions, limit)
    }

    /// The soft-deleted files: few enough to sort out by every condition.
    fn deleted(&mut self, query: &ListQuery, now: Timestamp, limit: &str) -> String {
        let user = self.text(query.user_id.as_str());
        let now = self.number(now.unix_us());
        let mut conditions = vec![
            format!("f.user_id = {user}"),
            "f.state = 4".to_owned(),
            format!("f.purge_time_us > {now}"),
            format!("(f.expire_time_us IS NULL OR f.expire_time_us > {now})"),
        ];
        self.window(query, "f", &mut conditions);
        self.residual(&query.filter, Driver::User, &mut conditions);
        self.statement("files AS f", "f", &conditions, limit)
    }

    fn statement(&self, tables: &str, alias: &str, conditions: &[String], limit: &str) -> String {
        format!(
            "SELECT {} FROM {tables} WHERE {} ORDER BY {alias}.create_time_us DESC, {alias}.file_id DESC \
             LIMIT {limit}",
            (self.dialect.columns)(),
            conditions.join(" AND ")
        )
    }

    /// The part of the listing that the page may take from.
    fn window(&mut self, query: &ListQuery, alias: &str, conditions: &mut Vec<String>) {
        if let Some(ListPosition { create_time, file_id }) = query.after {
            let (time, id) = (self.number(create_time.unix_us()), self.text(&file_id.to_string()));
            let place = format!("({alias}.create_time_us, {alias}.file_id)");
            conditions.push(format!("{place} < ({time}, {id})"));
        }
        if let Some(from) = query.filter.create_time_from {
            let from = self.number(from.unix_us());
            conditions.push(format!("{alias}.create_time_us >= {from}"));
        }
        if let Some(to) = query.filter.create_time_to {
            let to = self.number(to.unix_us());
            conditions.push(format!("{alias}.create_time_us < {to}"));
        }
    }

    /// The conditions that the driver does not answer by itself.
    fn residual(&mut self, filter: &FileFilter, driver: Driver<'_>, out: &mut Vec<String>) {
        if let Some(sha256) = filter.sha256 {
            out.push(format!("f.sha256 = {}", self.bytes(&sha256)));
        }
        if let (Some(reference), false) = (&filter.reference, driver == Driver::Reference) {
            let kind = self.number(reference.kind().number());
            let id = self.text(reference.id());
            out.push(format!(
                "EXISTS (SELECT 1 FROM file_references AS e WHERE e.file_id = f.file_id \
                 AND e.kind = {kind} AND e.reference_id = {id})"
            ));
        }
        for (key, value) in &filter.labels {
            if driver != Driver::Label(key, value) {
                let (key, value) = (self.text(key), self.text(value));
                out.push(format!(
                    "EXISTS (SELECT 1 FROM file_labels AS e WHERE e.file_id = f.file_id \
                     AND e.key = {key} AND e.value = {value})"
                ));
            }
        }
        if !filter.purposes.is_empty() && !matches!(driver, Driver::Purpose(_)) {
            let purposes: Vec<String> = filter.purposes.iter().map(|it| self.text(it)).collect();
            out.push(format!("f.purpose IN ({})", purposes.join(", ")));
        }
        if !filter.media_types.is_empty() && !matches!(driver, Driver::MediaType(_)) {
            let types: Vec<String> =
                filter.media_types.iter().map(|it| self.media_type(it)).collect();
            out.push(format!("({})", types.join(" OR ")));
        }
        if let Some(part) = &filter.name_contains {
            let (function, part) = (self.dialect.position, self.text(part));
            out.push(format!("{function}(f.filename_folded, {part}) > 0"));
        }
    }

    fn media_type(&mut self, pattern: &MediaTypePattern) -> String {
        match pattern {
            MediaTypePattern::Exact(exact) => format!("f.mime_type = {}", self.text(exact)),
            MediaTypePattern::TopLevel(top_level) => {
                format!("f.mime_top_level = {}", self.text(top_level))
            }
        }
    }

    fn text(&mut self, text: &str) -> String {
        self.parameter(Value::Text(text.to_owned()))
    }

    fn number(&mut self, number: i64) -> String {
        self.parameter(Value::Number(number))
    }

    fn bytes(&mut self, bytes: &[u8]) -> String {
        self.parameter(Value::Bytes(bytes.to_vec()))
    }

    fn parameter(&mut self, value: Value) -> String {
        self.values.push(value);
        format!("{}{}", self.dialect.parameter, self.values.len())
    }
}
