"""The plan that items run under: its parts, its rules, its prompts."""
