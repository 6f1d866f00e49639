//! StorageService: the engine of the node that is asked.
//!
//! Work that waits for the disk runs on threads for that; it goes on if whoever asked has gone.

use std::ops::Bound;
use std::sync::Arc;

use lsm_core::{Db, Stats, Table};
use lsm_proto::v1::storage_service_server::StorageService;
use lsm_proto::v1::{
    FlushMemTableRequest, FlushMemTableResponse, GetLevelsRequest, GetLevelsResponse,
    GetStorageStatsRequest, GetStorageStatsResponse, Level, SsTable, TriggerCompactionRequest,
    TriggerCompactionResponse,
};
use tokio::time::timeout_at;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use super::context::Context;
use super::deadline::RequestDeadline;
use crate::limits::MAINTENANCE_TIME_MAX;
use crate::status;
use crate::validate;

pub(super) struct Storage(pub(super) Context);

#[tonic::async_trait]
impl StorageService for Storage {
    async fn flush_mem_table(
        &self,
        request: Request<FlushMemTableRequest>,
    ) -> Result<Response<FlushMemTableResponse>, Status> {
        self.0.maintain(request.metadata(), Db::flush).await?;
        Ok(Response::new(FlushMemTableResponse {}))
    }

    async fn trigger_compaction(
        &self,
        request: Request<TriggerCompactionRequest>,
    ) -> Result<Response<TriggerCompactionResponse>, Status> {
        let (metadata, _, TriggerCompactionRequest { start, end }) = request.into_parts();
        validate::check_range(&start, &end, &self.0.limits)?;
        let start = if start.is_empty() { Bound::Unbounded } else { Bound::Included(start) };
        let end = if end.is_empty() { Bound::Unbounded } else { Bound::Excluded(end) };
        self.0.maintain(&metadata, |db| db.compact_range((start, end))).await?;
        Ok(Response::new(TriggerCompactionResponse {}))
    }

    async fn get_levels(
        &self,
        _request: Request<GetLevelsRequest>,
    ) -> Result<Response<GetLevelsResponse>, Status> {
        let levels = self.0.replica.reader().db().levels();
        Ok(Response::new(GetLevelsResponse { levels: levels.into_iter().map(level).collect() }))
    }

    async fn get_storage_stats(
        &self,
        _request: Request<GetStorageStatsRequest>,
    ) -> Result<Response<GetStorageStatsResponse>, Status> {
        let replica = &self.0.replica;
        Ok(Response::new(stats(&replica.reader().db().stats(), replica.log_bytes())))
    }
}

impl Context {
    /// Work on the engine that may take long.
    async fn maintain(
        &self,
        metadata: &MetadataMap,
        work: impl FnOnce(&Db) -> lsm_core::Result<()> + Send + 'static,
    ) -> Result<(), Status> {
        let asked = RequestDeadline::new(metadata, MAINTENANCE_TIME_MAX);
        let Ok(permit) = Arc::clone(&self.maintenance).try_acquire_owned() else {
            return Err(status::busy("other flushes and compactions are under way; try later"));
        };
        let db = self.replica.reader().db();
        let work = tokio::task::spawn_blocking(move || {
            let done = work(&db);
            drop(permit);
            done
        });
        match timeout_at(asked.until, work).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => Err(status::engine_failed(&error)),
            Ok(Err(error)) => Err(Status::internal(format!("the work broke off: {error}"))),
            Err(_) => Err(Status::deadline_exceeded("the work took longer; it goes on")),
        }
    }
}

fn level(level: lsm_core::Level) -> Level {
    Level {
        level: level.number as u32,
        bytes: level.bytes(),
        sstables: level.tables.into_iter().map(table).collect(),
    }
}

fn table(table: Table) -> SsTable {
    SsTable {
        id: table.number,
        bytes: table.bytes,
        entries: table.entries,
        min_key: table.smallest.into(),
        max_key: table.largest.into(),
    }
}

fn stats(stats: &Stats, log_bytes: u64) -> GetStorageStatsResponse {
    GetStorageStatsResponse {
        read_amplification: stats.read_amplification(),
        write_amplification: stats.write_amplification(),
        gets: stats.gets,
        gets_found: stats.gets_found,
        filter_hits: stats.filter_hits,
        filter_misses: stats.filter_misses,
        false_positives: stats.false_positives,
        blocks: stats.blocks,
        flushes: stats.flushes,
        compactions: stats.compactions,
        table_bytes: stats.table_bytes,
        memtable_bytes: stats.memtable_bytes,
        cache_bytes: stats.cache_bytes,
        debt_bytes: stats.debt_bytes,
        stall_micros: u64::try_from(stats.stall_time.as_micros()).unwrap_or(u64::MAX),
        log_bytes,
    }
}
