use super::*;
use crate::analyze::fixture;

#[test]
fn names_of_others_are_text() {
    let name = "</script><script>alert(1)</script><img src=x onerror=alert(2)>";
    let mut profile = fixture::requests::nasty(fixture::requests::lock(), name);
    profile.target.description = name.into();
    for wait in &mut profile.waits {
        wait.comm = name.into();
        wait.thread_groups = vec![name.into()];
    }
    let page = page(&profile, &Heat::default());
    assert_eq!(page.matches("<script").count(), 1 + usize::from(page.contains("flame-data\">")));
    assert!(!page.contains("<img") && page.contains("&lt;img"));
}
