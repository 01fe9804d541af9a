"""A planted fault is a Python file with a function for the checkpoint, for the model, or for both."""

from __future__ import annotations

from parity.adapters.plants import Plant


def test_a_file_changes_what_it_has_a_function_for(tmp_path):
    (tmp_path / "fault.py").write_text("def checkpoint(state):\n    state['a'] = 2\n")
    plant, state, root = Plant.of(tmp_path / "fault.py"), {"a": 1}, []
    plant.checkpoint(state)
    plant.model(root)
    assert (state, root, plant.changes_checkpoint) == ({"a": 2}, [], True)


def test_without_a_file_nothing_is_changed(tmp_path):
    (tmp_path / "model.py").write_text("def model(root):\n    root.append(1)\n")
    for file, root in ((None, []), (tmp_path / "model.py", [1])):
        plant, state, changed = Plant.of(file), {"a": 1}, []
        plant.checkpoint(state)
        plant.model(changed)
        assert (state, changed, plant.changes_checkpoint) == ({"a": 1}, root, False)
