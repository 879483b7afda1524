"""What people decide: new items, approvals and answers, hand edits, pauses."""
