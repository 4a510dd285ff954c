"""Latents ⇄ bytes, integers only: container, coder, tables, exact networks. SPEC.md is normative."""
