"""Inside a real Blender, for `test_blender.py`: runs a script, writes places of joints and vertices."""

import runpy
import sys

import bpy
import numpy as np

script, out, *names = sys.argv[1:]
runpy.run_path(script)
scene = bpy.context.scene
figure = next(thing for thing in scene.objects if thing.type == "ARMATURE")
body = next(thing for thing in scene.objects if thing.parent == figure)
joints, vertices = [], []
for frame in range(scene.frame_start, scene.frame_end + 1):
    scene.frame_set(frame)
    graph = bpy.context.evaluated_depsgraph_get()
    posed, skinned = figure.evaluated_get(graph), body.evaluated_get(graph)
    joints.append([posed.matrix_world @ posed.pose.bones[name].head for name in names])
    vertices.append([skinned.matrix_world @ vertex.co for vertex in skinned.data.vertices])
np.savez(out, joints=np.array(joints), vertices=np.array(vertices))
