//! Requests that one thread receives and others answer.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::connection::Request;
use super::models::spawn;
use super::service::{Service, Worker, lock};

/// Requests that nobody has taken yet.
#[derive(Default)]
pub struct Queue {
    requests: Mutex<VecDeque<Request>>,
    filled: Condvar,
}

/// Starts workers that answer what is put into the queue.
pub fn start(workers: usize, service: &Arc<Service>) -> io::Result<Arc<Queue>> {
    let queue = Arc::new(Queue::default());
    for number in 0..workers {
        let (queue, mut worker) = (queue.clone(), Worker::new(service, number));
        spawn(format!("worker-{number}"), move || {
            loop {
                // Who cannot be answered has closed the connection, which the receiver finds.
                let _closed = worker.serve(&queue.take());
            }
        })?;
    }
    Ok(queue)
}

impl Queue {
    /// Hands a request over.
    pub fn put(&self, request: Request) {
        lock(&self.requests).push_back(request);
        self.filled.notify_one();
    }

    /// The oldest, once there is one.
    fn take(&self) -> Request {
        let mut requests = lock(&self.requests);
        loop {
            if let Some(request) = requests.pop_front() {
                return request;
            }
            requests = self.filled.wait(requests).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
