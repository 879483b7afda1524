"""What people decide: new items, approvals and answers, edits by hand, pauses."""
