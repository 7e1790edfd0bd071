"""Trains the embedded quality mapper."""
import argparse
from pathlib import Path
import torch
from qrefine.models.mapper_net import ARCHITECTURE, MapperNet
from qrefine.models.weights import save_weights
from qrefine.training.loop import Run, train
from qrefine.training.mapping import MapperSamples
from qrefine.training.photos import load_photos
p=argparse.ArgumentParser();p.add_argument('--photos',action='append',default=[]);p.add_argument('--minutes',type=float);p.add_argument('--steps',type=int);p.add_argument('--seed',type=int,default=0);p.add_argument('--out',type=Path);p.add_argument('--resume',action='store_true')
a=p.parse_args()
ph=load_photos(a.photos,208)
torch.manual_seed(a.seed)
net=MapperNet().to(memory_format=torch.channels_last)
avg,st=train(net,__import__('qrefine.training.mapping',fromlist=['x']).mapper_loss,MapperSamples(ph.images,a.seed),Run(a.steps,a.minutes,batch=14,rate=1e-3,seed=a.seed),a.out.with_suffix('.checkpoint'),a.resume)
save_weights(avg,a.out,ARCHITECTURE,{'steps':str(st.step)})
