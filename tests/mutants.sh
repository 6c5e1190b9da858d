#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Takes the checks out, one at a time, and sees the test of each fail: docs/security.md says what they are for.
# Works on a copy of the tree. Usage: mutants.sh [WORD...]: only those whose rule, file or test has one of them.
set -u
top=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
words=("$@")
dir=$(mktemp -d "${TMPDIR:-/tmp}/mutants.XXXXXX")
trap 'rm -rf "$dir"' EXIT
(cd "$top" && git ls-files -z --cached --others --exclude-standard | cpio -0 -pdm --quiet "$dir") || exit 1
cd "$dir" || exit 1
caught=0 missed=()
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1

# passes PROGRAM SUITE/TEST: builds it and runs that one test
passes() {
    make -s MODE=asan WERROR=0 "build/asan/tests/$1" >make.log 2>&1 || {
        cat make.log
        echo "mutants: $1 does not build"
        exit 1
    }
    timeout 40 "build/asan/tests/$1" --filter "$2" --jobs 1 --timeout 20 >test.log 2>&1
}
wanted() {
    local word
    [ ${#words[@]} -gt 0 ] || return 0
    for word in "${words[@]}"; do
        [[ $1 != *"$word"* ]] || return 0
    done
    return 1
}
# mutant RULE PROGRAM SUITE/TEST {FILE SED}...: with the check taken out by SED the test must fail
mutant() {
    local rule=$1 program=$2 test=$3 file changed=()
    wanted "$*" || return 0
    if ! passes "$program" "$test" || ! grep -q 'Tested: .*[1-9]' test.log; then
        cat test.log
        missed+=("$rule: $program $test does not pass with the check, or does not exist")
        return
    fi
    shift 3
    while [ $# -gt 0 ]; do
        file=$1
        changed+=("$file")
        [ -e "$file.whole" ] || cp -p "$file" "$file.whole"
        cp "$file" before
        sed -i -E "$2" "$file"
        cmp -s before "$file" && missed+=("$rule: '$2' changes nothing in $file")
        shift 2
    done
    if passes "$program" "$test"; then
        missed+=("$rule: $program $test passes without the check in ${changed[*]}")
    else
        caught=$((caught + 1))
        printf '  caught  %-22s %-46s %s\n' "$program" "$test" "$rule"
    fi
    for file in "${changed[@]}"; do
        [ ! -e "$file.whole" ] || mv "$file.whole" "$file"
        touch "$file"
    done
}

# ---- rings
mutant 'a chain has as many steps as the ring has entries' test_vq vq/refuses_a_loop \
    virtio/vq.c 's/steps < q->num; steps\+\+/; steps++/'
mutant 'a table has as many steps as entries' test_vq vq/refuses_a_loop_in_a_table \
    virtio/vq.c 's/steps < cnt; steps\+\+/; steps++/'
mutant 'the available index is one ring ahead at most' test_vq vq/refuses_an_index_too_far_ahead \
    virtio/vq.c 's/if \(ahead > q->num\)/if (ahead > 60000)/'
mutant 'a head lies in the ring' test_vq vq/refuses_a_head_outside_of_the_ring \
    virtio/vq.c 's/if \(head >= q->num\)/if (0)/'
mutant 'a head in flight is not taken again' test_vq vq/refuses_a_head_in_flight \
    virtio/vq.c 's/if \(q->inflight\[head\]\)/if (0)/'
mutant 'next lies in the ring' test_vq vq/refuses_a_next_outside_of_the_ring \
    virtio/vq.c 's/if \(d\.next >= q->num\)/if (0)/'
mutant 'next lies in the table' test_vq vq/refuses_a_next_outside_of_the_table \
    virtio/vq.c 's/if \(d\.next >= cnt\)/if (0)/'
mutant 'no table in a table' test_vq vq/refuses_a_table_in_a_table \
    virtio/vq.c 's/if \(d\.flags & DESC_INDIRECT\) \{/if (0) {/'
mutant 'a table fits into our copy of it' test_vq vq/refuses_a_table_longer_than_ours \
    virtio/vq.c 's/ \|\| cnt > VQ_SIZE_MAX\)/)/'
mutant 'nothing readable after something writable' test_vq vq/refuses_readable_after_writable \
    virtio/vq.c 's/if \(!in && c->in_cnt\)/if (0)/'
mutant 'the bytes of a chain add up without a wrap' test_vq vq/refuses_more_than_4_gib \
    virtio/vq.c 's/if \(d->len > UINT32_MAX - .*\)/if (0)/'
mutant 'a chain has no more pieces than there is room for' test_vq vq/refuses_more_pieces_than_the_device_has_room_for \
    virtio/gmem.c 's/if \(n >= cap\)/if (0)/'
mutant 'a descriptor is fetched once' test_vq vq/fetches_a_descriptor_once \
    virtio/vq.c '/struct desc d = desc_load\(q, i\);/s/$/ d.len = desc_load(q, i).len;/'
mutant 'a table is fetched once' test_vq vq/fetches_a_table_once \
    virtio/vq.c 's/for \(unsigned steps = 0; steps < cnt; steps\+\+\) \{/&(void)gmem_read(q->dev->mem, t->addr, tab, t->len);/'
mutant 'a failed device writes nothing to the guest' test_vq vq/a_failed_device_writes_nothing_to_the_guest \
    virtio/vq.c '/q->inflight\[head\] = 0;/,/return/s/if \(!usable\(q\)\)/if (!q->live)/'
mutant 'size and addresses are latched' test_vq vq/registers_have_no_effect_on_a_running_queue \
    virtio/mmio.c 's/if \(q && !\(dev->status & VIRTIO_S_DRIVER_OK\)\)/if (q)/' \
    virtio/vq.c 's/usable\(q\) \|\| q->dev->frozen\)/&\n\t\treturn 0;\n\tq->num = q->size;\n\tif (0)/'
mutant 'a ring has a size that we offer, a power of two' test_vq vq/refuses_to_start_with_a_bad_ring \
    virtio/vq.c 's/num == 0 \|\| num > q->max \|\| num > VQ_SIZE_MAX \|\| //' \
    virtio/mmio.c 's/v <= q->max \? \(uint16_t\)v : 0/(uint16_t)v/'
mutant 'rings end in memory' test_vq vq/refuses_rings_that_end_outside \
    virtio/gmem.c 's/if \(!host \|\| run < len \|\|/if (!host ||/'

# ---- memory
mutant 'a span ends with its region' test_gmem gmem/copies_refuse_holes_and_ends \
    virtio/gmem.c 's/if \(\*len > r->len - off\)/if (0)/'
mutant 'nothing wraps around the address space' test_gmem gmem/nothing_wraps_around_the_address_space \
    virtio/gmem.c 's/run > UINT64_MAX - gpa\)/0)/'
mutant 'read-only memory is not written' test_vq vq/refuses_a_write_to_read_only_memory \
    virtio/gmem.c 's/if \(writable && r->readonly\)/if (0)/'
mutant 'what is given back is RAM' test_gmem gmem/discards_nothing_but_ram \
    virtio/gmem.c 's/return r->ram \? r : NULL;/return r;/'

# ---- registers
mutant 'queue registers know their queues' test_mmio mmio/queue_registers_know_their_queues \
    virtio/mmio.c 's/s->queue_sel < dev->queue_cnt \?/1 ?/'
mutant 'notify checks its index' test_mmio mmio/notify_checks_its_index \
    virtio/mmio.c 's/if \(queue >= dev->queue_cnt\)/if (0)/' \
    virtio/core.c 's/if \(queue >= dev->queue_cnt \|\| /if (/'
mutant 'reads of the configuration are bounded' test_mmio mmio/config_reads_are_bounded \
    virtio/core.c 's/MIN\(len, dev->cfg_len - off\)/len/'
mutant 'writes of the configuration are bounded' test_mmio mmio/config_writes_stay_in_the_writable_part \
    virtio/core.c 's/len > dev->cfg_rw_len - \(off - dev->cfg_rw_off\)\)/0)/'
mutant 'a register in memory follows' test_mmio mmio_page/has_what_each_register_reads \
    virtio/mmio.c 's/slot_show\(s, dev, VIRTIO_SHOW_REGS\);//'
mutant 'a cause is in memory before the pulse' test_mmio mmio_page/interrupts_and_faults_are_there_before_the_pulse \
    virtio/core.c 's/show\(dev, VIRTIO_SHOW_ISR\);//'
mutant 'an emptied slot is not its device any more' test_mmio mmio_page/is_empty_without_a_device \
    virtio/mmio.c 's/if \(s->page && s->dev == dev\)/if (s->page)/'
mutant 'the configuration changes at an instant' test_mmio mmio_page/a_driver_sees_all_of_an_update_or_nothing \
    virtio/mmio_page.c 's/fresh != MAP_FAILED/fresh == NULL/'
mutant 'acknowledgements take effect before a cause' test_acks acks/one_that_was_kept_does_not_take_a_later_cause \
    virtio/core.c 's/dev->tr->flush\(dev->tr_ctx\)/(void)0/'
mutant 'a kept acknowledgement is an access' test_acks acks/lengths_are_those_of_an_access \
    vmm/acks.c 's/m->len && m->len <= sizeof\(m->data\)/1/'
mutant 'features outside of the offer are refused' test_mmio core/features_outside_of_the_offer_are_refused \
    virtio/core.c 's/\(dev->acked & ~virtio_offered\(dev\)\)/0/'
mutant 'features are frozen' test_mmio core/features_are_frozen_by_features_ok \
    virtio/core.c 's/if \(!\(dev->status & VIRTIO_S_FEATURES_OK\)\)/if (1)/'
mutant 'a reset waits for the drain' test_mmio core/a_reset_waits_for_the_drain_in_the_vcpu_and_not_in_the_loop \
    virtio/core.c 's/while \(dev->resetting\)/while (0)/'

# ---- disks
mutant 'a request stays until its I/O is over, over a reset too' test_blk blk/many_at_once_and_reset \
    virtio/blk.c 's/!list_empty\(&b->running\) \|\| b->more/b->more/' \
    virtio/blk.c 's/BUG_ON\(!list_empty\(&b->running\)\);//'
mutant 'a disk ends' test_blk blk/beyond_the_end \
    virtio/blk.c 's/sectors <= b->sectors - sector;/1;/'
mutant 'a read-only disk is not written' test_blk blk/readonly_whatever_the_descriptor_can \
    virtio/blk.c 's/\(r->type == T_OUT && b->readonly\)/0/'
mutant 'ranges are bounded' test_blk blk/ranges \
    virtio/blk.c 's/sectors > BLK_RANGE_MAX \|\|/0 ||/' virtio/blk.c 's/!in_capacity\(b, sector, sectors\)\)/0)/'
mutant 'a request has a header and room for a status' test_blk blk/too_short_for_a_request \
    virtio/blk.c 's/r->chain\.out_len < sizeof\(struct req_wire\) \|\| !r->chain\.in_len/0/'
mutant 'an image has one writer' test_blk blk/refusals \
    virtio/blk_image.c 's/if \(fcntl\(b->fd, F_OFD_SETLK, &fl\) == 0\)/if (1)/'
mutant 'an image is free when its device is' test_blk blk/freed_is_unlocked \
    virtio/blk_image.c 's/		unlock_image\(b\);/		(void)0;/'

# ---- network
mutant 'a receive buffer has room for the header' test_net net/bad_receive_buffers \
    virtio/net_pair.c 's/if \(c->out_cnt \|\| c->in_len < NET_HDR_LEN\)/if (0)/'
mutant 'frames have a length' test_net net/send \
    virtio/net_pair.c 's/c->out_len >= NET_PACKET_MIN && c->out_len <= NET_PACKET_MAX/1/'
mutant 'receiving goes on when buffers come' test_net net/no_room_drops_and_goes_on \
    virtio/net_pair.c 's/if \(rc == -ENOBUFS\)$/&\n\t\tn->dead = true;\n\tif (rc == -ENOBUFS)/'
mutant 'a large packet is dropped whole' test_net net/no_room_drops_and_goes_on \
    virtio/net_tap.c 's/p->rx_room < len\)/0)/'
mutant 'tables of addresses end with their command' test_net_ctrl net_ctrl/tables \
    virtio/net_ctrl.c 's/if \(entries > \(left - sizeof\(w\)\) \/ 6\)/if ((uint32_t)(entries * 6) > left - sizeof(w))/'
mutant 'tables of addresses have a largest size' test_net_ctrl net_ctrl/tables \
    virtio/net_ctrl.c 's/\*over = entries > NET_MACS_MAX;/*over = false;/'
mutant 'so many pairs as there are' test_net_ctrl net_ctrl/bounds_of_pairs \
    virtio/net_ctrl.c 's/ \|\| pairs > n->pair_cnt \|\|/ ||/'
mutant 'a command has room for its answer' test_net_ctrl net_ctrl/odd_chains \
    virtio/net_ctrl.c 's/if \(!c\.in_len\)/if (0)/'
mutant 'an address has six bytes' test_net_ctrl net_ctrl/address \
    virtio/net_ctrl.c 's/iov_len\(iov, cnt\) != sizeof\(mac\)/0/'
mutant 'a saved number of pairs is one that there is' test_net_ctrl net_ctrl/saved_state_that_makes_no_sense \
    virtio/net_ctrl.c 's/le16_get\(w\.pairs\) > net_pairs\(n\)/0/'
mutant 'frames of a stream have a length' test_net_stream net_stream/too_long \
    virtio/net_stream.c 's/len < NET_FRAME_MIN \|\| len > NET_FRAME_MAX/len < NET_FRAME_MIN/'
mutant 'no frame is cut' test_net_stream net_stream/a_full_socket_cuts_no_frame \
    virtio/net_stream.c 's/iov_read\(iov, \(unsigned\)m/0 * &/'

# ---- console, serial, rng, balloon, mem, pmem
mutant 'the receiver of a serial port is bounded' test_serial serial/receiver_is_bounded_and_says_when_there_is_room \
    vmm/serial.c 's/SERIAL_FIFO - s->rx_cnt : 0/1000 : 0/'
mutant 'a guest that writes does not keep the loop' test_console console/a_guest_that_never_stops_writing_does_not_keep_the_loop \
    virtio/console.c 's/if \(i >= max\)/if (0)/'
mutant 'buffers without room end somewhere' test_console console/a_guest_that_posts_for_ever_does_not_keep_the_loop \
    virtio/console.c 's/if \(i == 2u \* q->num\)/if (0)/'
mutant 'control buffers have a size' test_console console/a_control_buffer_that_is_too_small_fails_the_device \
    virtio/console.c 's/if \(c\.in_len < len\)/if (0)/'
mutant 'a request for entropy gets 64 KiB at most' test_rng rng/a_request_gets_64_kib_at_most \
    virtio/rng.c 's/fill\(&r->c, REQUEST_MAX\)/fill(\&r->c, UINT32_MAX)/'
mutant 'a list of pages has a largest size' test_balloon balloon/lists_have_a_largest_size \
    virtio/balloon.c 's/ \|\| c->out_len > sizeof\(b->wire\)\)/)/'
mutant 'a list of pages is fetched once' test_balloon balloon/lists_are_fetched_once \
    virtio/balloon.c 's/b->pfn\[i\] = le32_get\(b->wire\[i\]\);/&(void)iov_read(vq_out(c), c->out_cnt, 0, b->wire, c->out_len);/'
mutant 'strange statistics harm nobody' test_balloon balloon/strange_statistics_harm_nobody \
    virtio/balloon.c 's/return tag < ARRAY_LEN\(place\) \? place\[tag\] : NULL;/return tag < 0x10 ? place[tag] : NULL;/'
mutant 'memory is plugged inside of its region' test_vmem vmem/ranges_are_checked \
    virtio/vmem.c 's/if \(!range\(v, r, v->usable, &first, &cnt\) \|\| count_plugged\(v, first, cnt\)\)/(void)range(v, r, v->usable, \&first, \&cnt);\n\tif (0)/'
mutant 'a flush has its type' test_pmem pmem/short_requests_fail_the_device \
    virtio/pmem.c 's/if \(iov_read\(vq_out\(&f->c\).* != sizeof\(type\) \|\|/if (0 \&\&/'

# ---- 9p
mutant 'names are names' test_p9 p9/names_are_names \
    virtio/p9_wire.c "s/if \(!name\[0\] .*strcmp.*/if (!name[0])/"
mutant 'a name has no NUL' test_p9 p9/names_are_names \
    virtio/p9_wire.c 's/if \(memchr\(p, 0, len\)\)/if (0)/'
mutant 'links are not followed' test_p9 p9/links_are_not_followed \
    virtio/p9_fs.c 's/RESOLVE_BENEATH \| RESOLVE_NO_MAGICLINKS \| RESOLVE_NO_SYMLINKS/0/' \
    virtio/p9_fs.c 's/O_PATH \| O_NOFOLLOW, cached/O_PATH, cached/'
mutant 'links of proc are not followed' test_p9 p9/links_of_proc_are_not_followed \
    virtio/p9_fs.c 's/RESOLVE_BENEATH \| RESOLVE_NO_MAGICLINKS \| RESOLVE_NO_SYMLINKS/0/' \
    virtio/p9_fs.c 's/O_PATH \| O_NOFOLLOW, cached/O_PATH, cached/'
mutant 'the parent of the root is the root' test_p9 p9/parent_of_the_root_is_the_root \
    virtio/p9_fs.c 's/if \(st\.st_dev != from->dev \|\| st\.st_ino != from->ino\)/if (1)/' \
    virtio/p9_fs.c 's/if \(strncmp\(path, root, len\) != 0 .*/if (0)/'
mutant 'special files are never opened' test_p9 p9/special_files_are_never_opened \
    virtio/p9_fs.c 's/if \(f->fmt != S_IFREG && f->fmt != S_IFDIR\)/if (0)/'
mutant 'messages are no longer than they are' test_p9 p9/cursors_end_with_their_message \
    virtio/p9_wire.c 's/if \(len > r->left\)/if (0)/'
mutant 'a message ends with its size' test_p9 p9/sizes \
    virtio/p9.c 's/r->size < P9_HDR \|\| r->size > ch->out_len/r->size < P9_HDR/'
mutant 'a message fits into msize' test_p9 p9/message_longer_than_msize \
    virtio/p9.c 's/if \(msize && r->size > msize\)/if (0)/'
mutant 'a write has what it says' test_p9 p9/write_count_beyond_the_message \
    virtio/p9_io.c 's/if \(count > r->size - P9_IO_HDR\)/if (0)/' virtio/p9_xattr.c 's/if \(count > c->r->size - P9_IO_HDR\)/if (0)/'
mutant 'a reply stays in its buffer' test_p9 p9/replies_stay_in_their_buffer \
    virtio/p9.c 's/\(len > r->chain\.in_len \|\| c->payload > r->chain\.in_len - len\)/0/'
mutant 'an attribute has a largest size' test_p9 p9/xattr_sizes \
    virtio/p9_xattr.c 's/if \(size > P9_XATTR_MAX\)/if (0)/' virtio/p9_fid.c 's/if \(len > P9_XATTR_MAX\)/if (0)/'
mutant 'an attribute is written inside of its size' test_p9 p9/xattr_sizes \
    virtio/p9_xattr.c 's/if \(off > f->buf_len \|\| count > f->buf_len - off\)/if (0)/'
mutant 'attributes that wait are bounded' test_p9 p9/xattr_memory_is_bounded \
    virtio/p9_fid.c 's/if \(atomic_fetch_add\(&s->xattr_bytes, len\) > .*\)/atomic_fetch_add(\&s->xattr_bytes, len);\n\tif (0)/'
mutant 'fids are bounded' test_p9 p9_start/fids_without_descriptors_are_bounded \
    virtio/p9_fid.c 's/t->cnt >= P9_FIDS_MAX/0/'
mutant 'locks are bounded' test_p9 p9/locks_are_bounded \
    virtio/p9_lock.c 's/if \(s->lock_cnt \+ 2 > P9_LOCKS_MAX\)/if (0)/'
mutant 'a walk has sixteen names' test_p9 p9/walk_of_too_many_names \
    virtio/p9_fs.c 's/ \|\| cnt > P9_WALK_MAX\)/)/'
mutant 'a read-only share is not written' test_p9 p9_start/readonly \
    virtio/p9.c 's/else if \(h->mutates && r->s->readonly\)/else if (0)/'
mutant 'a saved machine is as long as it says' test_saved saved/cut_off \
    vmm/savefile.c 's/st\.st_size < 0 \|\| \(uint64_t\)st\.st_size != end/0/'
mutant 'a section of memory does not wrap' test_saved saved/sections_of_the_head \
    vmm/savefile.c 's/ \|\| __builtin_add_overflow\(s->gpa, s->len, &end\)//'
mutant 'no more sections than there is room for' test_saved saved/sections_of_the_head \
    vmm/savefile.c 's/ \|\| f->section_cnt > SAVEFILE_SECTIONS_MAX//'
mutant 'records are bounded' test_saved saved/records_of_the_head \
    vmm/savefile.c 's/len > SAVEFILE_RECORDS_MAX \|\| f->ram_off != ALIGN_UP\(at \+ len, \(uint64_t\)PAGE\)/0/'
mutant 'sections are the memory of that machine' test_saved saved/sections_of_the_machine \
    vmm/machine_saved.c 's/rc == 0 && !sections_fit\(s\)/0/'
mutant 'a saved CPUID fits' test_saved saved/clock_and_cpuid \
    vmm/machine_saved.c 's/len % each \|\| len > sizeof\(s->cpuid\.entry\)/0/'
mutant 'a saved shape has its length' test_saved saved/counts_of_the_shape \
    vmm/machine_saved.c 's/!is_possible\(s\) \|\| len != sizeof\(w\)/!is_possible(s) || 0 \&\& len != sizeof(w)/'
mutant 'a saved shape is possible' test_saved saved/shapes_that_no_machine_has \
    vmm/machine_saved.c 's/!is_possible\(s\) \|\| //'
mutant 'a saved path stays beneath the root' test_p9_snap p9_snap/no_path_leaves_the_share \
    virtio/p9_fs.c 's/RESOLVE_BENEATH \| RESOLVE_NO_MAGICLINKS \| RESOLVE_NO_SYMLINKS/0/'
mutant 'a saved path leads through no link' test_p9_snap p9_snap/no_way_through_a_link \
    virtio/p9_fs.c 's/RESOLVE_BENEATH \| RESOLVE_NO_MAGICLINKS \| RESOLVE_NO_SYMLINKS/0/'
mutant 'a replaced file is not loaded' test_p9_snap p9_snap/a_replaced_file_is_refused \
    virtio/p9_snap.c 's/return same\(&now, &d->id\)/return true/'
mutant 'a saved attribute is one that a guest may set' test_p9_snap p9_snap/no_attribute_that_a_guest_may_not_set \
    virtio/p9_snap.c 's/!p9_xattr_may_set\(d->xname, d->flags\)/0/'
mutant 'a saved open file obeys a read-only share' test_p9_snap p9_snap/broken_states_are_refused_or_harmless \
    virtio/p9_snap.c 's/\(s->readonly && \(d->flags & O_ACCMODE\) != O_RDONLY\)/0/' \
    virtio/p9_snap.c 's/\(s->readonly \|\| !p9/(!p9/'
mutant 'a fid lives as long as what runs on it' test_p9 p9/requests_race_on_one_fid \
    virtio/p9_fid.c 's/\*ret = p9_fid_ref\(e->f\);/*ret = e->f;/'
mutant 'files are made with the identity of who asked' test_p9_fs p9_fs/owners_and_modes \
    virtio/p9_name.c 's/p9_worker_as\(c->w, \(\*dir\)->uid, gid\)/0/'
mutant 'a file without a name stays usable' test_p9_fs p9_fs/unlinked_but_open \
    virtio/p9_fid.c 's/f->fd = fd_take\(&own\);/f->fd = -1;/'

# ---- kernels, saved state
mutant 'a note is not longer than its segment' test_load_elf load_elf/notes_that_lie \
    vmm/load_elf.c 's/if \(n\.n_descsz > left - name_room\)/if (0)/'
mutant 'notes are bounded' test_load_elf load_elf/notes_that_lie \
    vmm/load_elf.c 's/if \(ph->p_filesz > NOTES_MAX\)/if (0)/'
mutant 'a segment fits into memory' test_load_elf load_elf/segments \
    vmm/load_elf.c 's/if \(ph->p_filesz > ph->p_memsz\)/if (0)/'
mutant 'a segment does not wrap' test_load_elf load_elf/segments \
    vmm/load_elf.c 's/if \(__builtin_add_overflow\(ph->p_paddr, ph->p_memsz, &end\)\)/end = ph->p_paddr + ph->p_memsz;\n\tif (0)/'
mutant 'a payload lies in its file' test_load_bzimage load_bzimage/header \
    vmm/load_bzimage.c 's/if \(!len \|\| start > src->size \|\| len > src->size - start\)/if (0)/'
mutant 'a payload is unpacked to what it says' test_load_bzimage load_bzimage/unpacks_to_what_it_says_and_no_more \
    vmm/load_bzimage.c 's/p\.out_len > IMAGE_UNPACKED_MAX/0/'
mutant 'saved features are ones that we have' test_snap snap/features_that_were_never_offered \
    virtio/snap.c 's/if \(le64_get\(w->acked\) & ~virtio_offered\(dev\)\)/if (0)/'
mutant 'saved records end in their file' test_snap snap/broken_states_are_refused_or_harmless \
    virtio/snap.c 's/le32_get\(w\.len\) > r->left - sizeof\(w\) \|\|/0 ||/'

echo "$caught checks are missed by their test when they are gone"
for one in "${missed[@]}"; do
    echo "NOT CAUGHT: $one"
done
[ ${#missed[@]} = 0 ] && [ $caught != 0 ]
