//! Records: listings and look-ups in small and large databases, and beginnings and publications in groups.

use std::{
    cell::OnceCell,
    collections::BTreeMap,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use files::{
    blob::BlobKey,
    clock::{SystemClock, Timestamp},
    file::{
        Content, FileSpec,
        id::FileId,
        labels::Labels,
        media_type::MediaType,
        name::FileName,
        purpose::Purpose,
        reference::{Reference, ReferenceKind},
        usage::Quota,
        user::UserId,
    },
    metadata::{
        FileFilter, Intended, Intent, ListPosition, ListQuery, MediaTypePattern, Upkeep,
        postgres::PostgresRepository, sqlite::SqliteRepository,
    },
};
use futures_util::future::try_join_all;

use crate::{
    Bench,
    case::{Amount, Case, Run},
    many_rows::{self, BUSY_USER},
    postgres_server,
    table::grouped,
};

const SMALL_ROWS: u64 = 1000;
const PAGES: usize = 100;
const PAGE_SIZE: usize = 50;
const LOOK_UPS: usize = 1000;
const UPLOADS: usize = 640;

/// A database, filled at its first use.
#[derive(Clone)]
struct Filled {
    rows: u64,
    kind: Kind,
    path: PathBuf,
    repository: Rc<OnceCell<Arc<dyn Upkeep>>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Sqlite,
    Postgres,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }
}

impl Filled {
    fn new(kind: Kind, rows: u64, place: &Path) -> Self {
        let path = place.join(format!("records-{rows}.db"));
        Self { rows, kind, path, repository: Rc::default() }
    }

    async fn repository(&self) -> Result<&Arc<dyn Upkeep>> {
        if let Some(repository) = self.repository.get() {
            return Ok(repository);
        }
        let opened = self.open().await?;
        Ok(self.repository.get_or_init(|| opened))
    }

    async fn open(&self) -> Result<Arc<dyn Upkeep>> {
        match self.kind {
            Kind::Sqlite => {
                let repository = SqliteRepository::open(&self.path, Arc::new(SystemClock))?;
                let connection = rusqlite::Connection::open(&self.path)?;
                connection.execute_batch(&many_rows::sqlite(self.rows))?;
                Ok(Arc::new(repository))
            }
            Kind::Postgres => {
                let server = postgres_server::shared();
                let database = server.database().await;
                let options = server.options(&database);
                let repository = PostgresRepository::open(options, Arc::new(SystemClock)).await?;
                server.execute(&database, &many_rows::postgres(self.rows)).await;
                server.execute(&database, "VACUUM").await;
                Ok(Arc::new(repository))
            }
        }
    }
}

/// A page of each single filter, of the beginning and from the middle on.
fn pages(rows: u64) -> Result<Vec<(&'static str, ListQuery)>> {
    let none = FileFilter::default;
    let reference = Reference::parse("reference", Some(ReferenceKind::Thread), "t")?;
    let labels = BTreeMap::from([("team".to_owned(), "red".to_owned())]);
    let sha256 = format!("{:032}", 0).into_bytes().try_into().ok().context("32 bytes")?;
    let middle = Timestamp::from_unix_us(i64::try_from(rows / 2)?);
    let exact = MediaTypePattern::Exact("image/png".to_owned());
    let top_level = MediaTypePattern::TopLevel("image".to_owned());
    let filters = [
        ("purpose", FileFilter { purposes: vec!["vision".to_owned()], ..none() }),
        ("mime type", FileFilter { media_types: vec![exact], ..none() }),
        ("image/*", FileFilter { media_types: vec![top_level], ..none() }),
        ("reference", FileFilter { reference: Some(reference), ..none() }),
        ("sha256", FileFilter { sha256: Some(sha256), ..none() }),
        ("label", FileFilter { labels, ..none() }),
        ("created from", FileFilter { create_time_from: Some(middle), ..none() }),
        ("created to", FileFilter { create_time_to: Some(middle), ..none() }),
    ];
    let file_id = FileId::parse(&format!("file_{:022}", rows / 2)).context("an id")?;
    let deep = ListPosition { create_time: middle, file_id };
    let query = |filter, after| {
        anyhow::Ok(ListQuery {
            user_id: UserId::parse(BUSY_USER)?,
            filter,
            show_deleted: false,
            after,
            limit: PAGE_SIZE,
        })
    };
    let mut pages = vec![("first page", query(none(), None)?)];
    pages.push(("deep page", query(none(), Some(deep))?));
    for (name, filter) in filters {
        pages.push((name, query(filter, None)?));
    }
    Ok(pages)
}

pub(crate) fn cases<'a>(bench: &'a Bench, place: &Path) -> Vec<Case<'a>> {
    let mut cases = Vec::new();
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let large = Filled::new(kind, bench.scale.rows, place);
        let small = Filled::new(kind, SMALL_ROWS, place);
        let rows = grouped(bench.scale.rows as f64);
        for (at, (name, _)) in pages(SMALL_ROWS).into_iter().flatten().enumerate() {
            let work = format!("records, list 50 of {rows}, {name}, {}", kind.name());
            for (by, filled) in [("files", &large), ("among 1,000", &small)] {
                cases.push(listing(bench, work.clone(), by, at, filled.clone()));
            }
        }
        let work = format!("records, get 1 of {rows}, {}", kind.name());
        for (by, filled) in [("files", &large), ("among 1,000", &small)] {
            cases.push(look_up(bench, work.clone(), by, filled.clone()));
        }
        let work = format!("records, begin and publish, {}", kind.name());
        for (by, at_once) in [("files", 64), ("16 at once", 16), ("1 at once", 1)] {
            cases.push(uploads(bench, work.clone(), by, at_once, small.clone()));
        }
    }
    cases
}

fn listing<'a>(
    bench: &'a Bench,
    work: String,
    by: &'static str,
    page: usize,
    filled: Filled,
) -> Case<'a> {
    Case::new(work, by, Amount::Pieces(PAGES), move || {
        let queries = pages(filled.rows)?;
        let (_, query) = queries.get(page).context("a page")?;
        let repository = bench.runtime.block_on(filled.repository())?;
        let list = || anyhow::Ok(bench.runtime.block_on(repository.list(query))?);
        if list()?.len() != PAGE_SIZE {
            bail!("not a whole page");
        }
        Run::of(None, || (0..PAGES).try_for_each(|_| list().map(drop)))
    })
}

fn look_up<'a>(bench: &'a Bench, work: String, by: &'static str, filled: Filled) -> Case<'a> {
    Case::new(work, by, Amount::Pieces(LOOK_UPS), move || {
        let repository = bench.runtime.block_on(filled.repository())?;
        let step = filled.rows / LOOK_UPS as u64;
        let ids: Vec<FileId> = (0..LOOK_UPS as u64)
            .filter_map(|n| FileId::parse(&format!("file_{:022}", n * step)))
            .collect();
        Run::of(None, || {
            for id in &ids {
                bench.runtime.block_on(repository.find(id))?.context("a file")?;
            }
            Ok(())
        })
    })
}

fn uploads<'a>(
    bench: &'a Bench,
    work: String,
    by: &'static str,
    at_once: usize,
    filled: Filled,
) -> Case<'a> {
    // One at a time takes its time.
    let uploads = if at_once == 1 { UPLOADS / 8 } else { UPLOADS };
    Case::new(work, by, Amount::Pieces(uploads), move || {
        let repository = bench.runtime.block_on(filled.repository())?;
        let callers = (0..at_once).map(|_| async {
            for _ in 0..uploads / at_once {
                upload(repository.as_ref()).await?;
            }
            anyhow::Ok(())
        });
        Run::of(None, || bench.runtime.block_on(try_join_all(callers)).map(drop))
    })
}

async fn upload(repository: &dyn Upkeep) -> Result<()> {
    let spec = FileSpec {
        user_id: UserId::parse("uploader")?,
        purpose: Purpose::stored("assistants".to_owned()),
        name: FileName::parse("filename", "a.txt")?,
        media_type: MediaType::parse("text/plain").context("a type")?,
        size_bytes: Some(4096),
        ttl: None,
        labels: Labels::default(),
        references: Default::default(),
        delete_when_unreferenced: false,
        upload_id: Some(uuid::Uuid::new_v4()),
    };
    let intent = Intent {
        file_id: FileId::random()?,
        blob_key: BlobKey::random()?,
        spec,
        lease: Duration::from_secs(60),
        quota: Quota::default(),
        offset: 0,
    };
    let Intended::Begun(ticket) = repository.intend(intent).await? else {
        bail!("finished before");
    };
    let content = Content { size_bytes: 4096, sha256: [7; 32] };
    repository.publish(&ticket, content).await?;
    Ok(())
}
