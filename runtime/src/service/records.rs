//! Records of a session as pages.

use longhaul_actors::RecoverError;
use longhaul_journal::{Journal, Limit, ReadError, Seq, StreamId};

use super::problems::{read_problem, recover_problem};
use crate::api::{Code, EventsPage, EventsQuery, Problem, RecordView};
use crate::folds::Folds;

/// Most records of one page, and of one scan for records of a level.
const PAGE: usize = 500;

/// One page, and where the session stands. Blocks on the disk.
pub(super) fn records(
    journal: &dyn Journal,
    folds: &Folds,
    stream: StreamId,
    query: &EventsQuery,
) -> Result<EventsPage, Problem> {
    let head = journal.head(stream).map_err(read_problem)?;
    let head = head.ok_or_else(|| Problem::new(Code::NotFound, "there is no such session"))?;
    if query.after > head.seq.0 {
        let detail = format!(
            "after={} lies beyond the head; the last record is {}",
            query.after, head.seq
        );
        return Err(Problem::new(Code::InvalidRequest, detail));
    }
    let limit = query.limit.clamp(1, PAGE);
    let (mut events, mut next_after) = (Vec::new(), query.after);
    'scan: while events.len() < limit {
        let page = Limit {
            records: PAGE,
            ..Limit::default()
        };
        let frames = match journal.read(stream, Seq(next_after), page) {
            Ok(frames) => frames,
            // Readable up to the gap: what lies before it is this page, and the next one is refused.
            Err(ReadError::Damaged { .. }) if next_after > query.after => break,
            Err(error) => return Err(read_problem(error)),
        };
        if frames.is_empty() {
            break;
        }
        for record in frames.iter().flat_map(|frame| &frame.records) {
            if record.seq.0 <= next_after {
                continue;
            }
            if record.event.level <= query.level {
                if events.len() == limit {
                    break 'scan;
                }
                let shown = RecordView::of(stream, record);
                events.push(shown.map_err(|error| Problem::new(Code::JournalDamaged, error.to_string()))?);
            }
            next_after = record.seq.0;
        }
    }
    // Records may have come since they were read above; the state is that of the fold, so the head must be too. A reader
    // who was told an old head together with a final state would leave before the last records.
    let (state, terminal, head) = match folds.at_head(journal, stream) {
        Ok(state) => (
            state.phase.name().to_owned(),
            state.phase.is_terminal(),
            state.head.0.max(next_after),
        ),
        Err(RecoverError::Quarantined(_)) => ("quarantined".to_owned(), false, head.seq.0.max(next_after)),
        Err(error) => return Err(recover_problem(error)),
    };
    Ok(EventsPage {
        events,
        next_after,
        head,
        state,
        ended: terminal && next_after >= head,
    })
}
