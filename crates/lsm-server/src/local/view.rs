//! What the nodes say of themselves, and what of it is news.

use std::time::Duration;

use lsm_proto::v1::cluster_service_client::ClusterServiceClient;
use lsm_proto::v1::{StatusRequest, StatusResponse};
use tonic::transport::{Channel, Endpoint};

use super::plan::LocalPlan;

const CONNECT_TIME_MAX: Duration = Duration::from_millis(300);
const ANSWER_TIME_MAX: Duration = Duration::from_millis(500);

/// Asks the nodes, and remembers what was known before.
#[derive(Debug)]
pub(super) struct ClusterView {
    clients: Vec<ClusterServiceClient<Channel>>,
    /// Which nodes answered.
    up: Vec<bool>,
    leader: Option<(u64, u64)>,
    was_ready: bool,
    saw_one: bool,
}

/// Something to tell.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// A node leads.
    Leader { node: u64, term: u64 },
    /// No node leads any more.
    NoLeader,
    /// A node answers again.
    Back(u64),
}

impl ClusterView {
    pub(super) fn new(plan: &LocalPlan) -> Result<Self, String> {
        let client = |address: std::net::SocketAddr| {
            let endpoint = Endpoint::from_shared(format!("http://{address}"));
            let endpoint = endpoint.map_err(|error| error.to_string())?;
            let endpoint = endpoint.connect_timeout(CONNECT_TIME_MAX).timeout(ANSWER_TIME_MAX);
            Ok(ClusterServiceClient::new(endpoint.connect_lazy()))
        };
        let clients: Result<Vec<_>, String> =
            plan.nodes.iter().map(|node| client(node.listen)).collect();
        let up = vec![false; plan.nodes.len()];
        Ok(Self { clients: clients?, up, leader: None, was_ready: false, saw_one: false })
    }

    /// Whether no node has answered yet.
    pub(super) fn saw_none(&self) -> bool {
        !self.saw_one
    }

    /// Asks all nodes, at the same time, and says what has changed.
    pub(super) async fn look(&mut self) -> Vec<News> {
        let asked: Vec<_> = self
            .clients
            .iter()
            .map(|client| {
                let mut client = client.clone();
                tokio::spawn(async move { client.status(StatusRequest {}).await })
            })
            .collect();
        let mut answers = Vec::with_capacity(asked.len());
        for asked in asked {
            answers.push(asked.await.ok().and_then(Result::ok).map(tonic::Response::into_inner));
        }
        self.compare(&answers)
    }

    fn compare(&mut self, answers: &[Option<StatusResponse>]) -> Vec<News> {
        let mut news = Vec::new();
        for (index, answer) in answers.iter().enumerate() {
            let up = answer.is_some();
            if up && !self.up[index] && self.was_ready {
                news.push(News::Back(index as u64 + 1));
            }
            self.up[index] = up;
        }
        self.was_ready |= self.up.iter().all(|up| *up);
        self.saw_one |= self.up.iter().any(|up| *up);
        let leader = leader(answers);
        if leader != self.leader {
            self.leader = leader;
            news.push(match leader {
                Some((node, term)) => News::Leader { node, term },
                None => News::NoLeader,
            });
        }
        news
    }
}

/// Who leads, and in which term: only the node itself is believed, and of several the one of
/// the highest term.
fn leader(answers: &[Option<StatusResponse>]) -> Option<(u64, u64)> {
    let leading = answers.iter().flatten().filter(|status| status.leader == status.node);
    leading.map(|status| (status.node, status.term)).max_by_key(|(_, term)| *term)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(node: u64, leader: u64, term: u64) -> Option<StatusResponse> {
        Some(StatusResponse { node, leader, term, ..StatusResponse::default() })
    }

    #[tokio::test]
    async fn only_changes_are_told() {
        let plan = LocalPlan::new(3, 1, std::path::Path::new("x"), &[]);
        let mut view = ClusterView::new(&plan).unwrap();
        assert_eq!(view.compare(&[None, answer(2, 0, 1), None]), []);
        let all = [answer(1, 2, 2), answer(2, 2, 2), answer(3, 0, 1)];
        assert_eq!(view.compare(&all), [News::Leader { node: 2, term: 2 }]);
        assert_eq!(view.compare(&all), []);
        assert_eq!(view.compare(&[answer(1, 2, 2), None, answer(3, 2, 2)]), [News::NoLeader]);
        let old_and_new = [answer(1, 1, 3), answer(2, 2, 2), answer(3, 1, 3)];
        let news = [News::Back(2), News::Leader { node: 1, term: 3 }];
        assert_eq!(view.compare(&old_and_new), news);
    }
}
