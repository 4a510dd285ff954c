// An 8-bit counter with load and enable; `wrap` is high for the cycle in which it returns to zero.
module counter (
    input  wire       clk,
    input  wire       rst,
    input  wire       enable,
    input  wire       load,
    input  wire [7:0] value,
    output reg  [7:0] count,
    output reg        wrap
);
    always @(posedge clk or posedge rst)
        if (rst) begin
            count <= 8'd0;
            wrap  <= 1'b0;
        end else begin
            wrap <= enable & ~load & (count == 8'hff);
            if (load)        count <= value;
            else if (enable) count <= count + 8'd1;
        end
endmodule
