"""Sample plug-ins: each is the one file that a newcomer writes; tests drop them into the package."""
