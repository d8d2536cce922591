"""A small library of synthesised everyday sounds, to try soundsearch on and to test it with.

Rain, dogs, bells, engines, footsteps and scenes of several of them: all of it is computed from a
seed with numpy, so the demo needs no download and raises no question of licence. Same seed, same
bytes (with the same numpy and libsndfile). One recording, "mixtures/evening garden.wav", is 40
seconds long and a dog barks in it only from second 26 to 30 (`DemoSound.event_s`), which shows that
a search returns the second to listen at.
"""

from soundsearch.demo.library import DEMO_SOUNDS, DemoSound, synthesise, write_demo_library

__all__ = ["DEMO_SOUNDS", "DemoSound", "synthesise", "write_demo_library"]
