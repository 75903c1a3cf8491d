"""The offline tier: simulated portraits and cats, a camera, and generators."""
