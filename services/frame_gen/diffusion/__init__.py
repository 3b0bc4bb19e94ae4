"""Image models on this machine's device: step-level batching over diffusers' modules.

Of this package only `job` and `queue` can be imported without torch; everything
else imports torch and diffusers, so import it late.
"""
