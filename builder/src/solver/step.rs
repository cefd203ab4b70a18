//! One step in flight: looked up by content, run, remembered.

use std::sync::Arc;

use kiln_graph::VertexId;
use tokio::sync::Semaphore;

use super::keyed::Keyed;
use super::{NewRecord, Outputs, Records, blocking};
use crate::error::Cause;
use crate::explain::Likeness;
use crate::flight::Crowd;
use crate::key::KeyParts;
use crate::ops::Op;
use crate::progress::{EventKind, Reporter};
use crate::value::{Layers, Value};

/// Everything that one flight of a step needs, whoever waits for it.
pub(super) struct StepRun {
    pub(super) op: Arc<dyn Op>,
    pub(super) inputs: Vec<Value>,
    pub(super) parts: KeyParts,
    pub(super) likeness: Likeness,
    pub(super) explain: bool,
    pub(super) keyed: Arc<Keyed>,
    pub(super) id: VertexId,
    pub(super) fresh: bool,
    pub(super) name: String,
    pub(super) outputs: u32,
    pub(super) permits: Arc<Semaphore>,
    pub(super) records: Arc<dyn Records>,
}

impl StepRun {
    pub(super) async fn fly(self, crowd: &Crowd) -> Result<Outputs, Cause> {
        let run = Arc::new(self);
        let result = run.clone().look_up_or_run(crowd).await;
        match &result {
            Ok((kind, _)) => crowd.report(kind.clone()),
            Err(Cause::Cancelled) => {}
            Err(cause) => crowd.report(EventKind::Failed(cause.to_string())),
        }
        result.map(|(_, outputs)| outputs)
    }

    pub(super) async fn look_up_or_run(
        self: Arc<Self>,
        crowd: &Crowd,
    ) -> Result<(EventKind, Outputs), Cause> {
        // Inside the flight: whoever landed a moment ago on this key has saved before he left the map.
        if self.op.remembered() && !self.fresh {
            let this = self.clone();
            if let Some(outputs) = blocking(move || this.recall()).await? {
                return Ok((EventKind::Cached, outputs));
            }
        }
        let permit = tokio::select! {
            permit = self.permits.acquire() => permit.map_err(|_| Cause::Cancelled)?,
            () = crowd.cancel().cancelled() => return Err(Cause::Cancelled),
        };
        let why = self.why().await;
        crowd.report(EventKind::Started);
        let outcome = self.op.run(self.inputs.clone(), crowd).await;
        self.tell_why(why, outcome.as_deref().ok(), crowd).await;
        let outputs: Outputs = outcome?.into();
        drop(permit);
        if self.op.remembered() {
            let (this, layers) = (self.clone(), layers_of(&outputs));
            if let Err(cause) = blocking(move || this.save(&layers)).await {
                crowd.report(EventKind::Warning(format!("the result is not remembered: {cause}").into()));
            }
        }
        Ok((EventKind::Done, outputs))
    }

    pub(super) fn recall(&self) -> Result<Option<Outputs>, Cause> {
        let Some(layers) = self.records.lookup(&self.parts.key(), self.outputs)? else { return Ok(None) };
        self.save(&layers)?;
        Ok(Some(layers.into_iter().map(Value::Layers).collect()))
    }

    pub(super) fn save(&self, outputs: &[Layers]) -> Result<(), Cause> {
        let vertex = &self.keyed.vertices[&self.id];
        self.records.save(&NewRecord {
            definition: (&vertex.key, &vertex.parts),
            content: (&self.parts.key(), &self.parts),
            name: &self.name,
            likeness: &self.likeness,
            outputs,
        })
    }
}

pub(super) fn layers_of(outputs: &[Value]) -> Vec<Layers> {
    let layers = |value: &Value| match value {
        Value::Layers(layers) => Some(layers.clone()),
        Value::Files(_) => None,
    };
    outputs.iter().filter_map(layers).collect()
}
