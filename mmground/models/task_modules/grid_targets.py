import torch.nn.functional as F
def grid_targets(masks, geometry, stride=4, threshold=0.0):
    on_canvas = geometry.masks(masks)
    grid = [s // stride for s in geometry.canvas_shape]
    return F.interpolate(on_canvas[None], size=grid, mode='bilinear', align_corners=False)[0] > threshold
